/** Which heads are a tunnel, which get a 400, which are malformed: a table. */
import { describe, expect, it } from 'vitest'
import type { HeaderList } from '../src/http2/hpack.ts'
import { headerProblem, readRequestHead, readResponseHead } from '../src/http2/message.ts'

const connect: HeaderList = [
  [':method', 'CONNECT'],
  [':authority', '10.0.0.1:80'],
]
const withField = (name: string, value: string): HeaderList => [...connect, [name, value]]

const heads: readonly (readonly [string, 'connect' | 'refused' | 'malformed', HeaderList])[] = [
  ['a plain CONNECT', 'connect', connect],
  [
    'a host name',
    'connect',
    [
      [':method', 'CONNECT'],
      [':authority', 'db.shop.svc.cluster.local:5432'],
    ],
  ],
  [
    'an IPv6 literal',
    'connect',
    [
      [':method', 'CONNECT'],
      [':authority', '[2001:db8::1]:80'],
    ],
  ],
  [
    'pseudo headers in the other order',
    'connect',
    [
      [':authority', '10.0.0.1:80'],
      [':method', 'CONNECT'],
    ],
  ],
  ['ordinary fields', 'connect', withField('baggage', 'a=b,c=d')],
  ['a repeated field', 'connect', [...withField('baggage', 'a=b'), ['baggage', 'c=d']]],
  ['an empty value', 'connect', withField('baggage', '')],
  ['a value of raw high bytes', 'connect', withField('x', '\u0080\u00ff')],
  ['te: trailers', 'connect', withField('te', 'trailers')],
  ['a field named __proto__', 'connect', withField('__proto__', 'x')],
  [
    'GET',
    'refused',
    [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', '/'],
      [':authority', 'x'],
    ],
  ],
  [
    'lower-case connect',
    'refused',
    [
      [':method', 'connect'],
      [':scheme', 'https'],
      [':path', '/'],
    ],
  ],
  ['no authority', 'refused', [[':method', 'CONNECT']]],
  [
    'an empty authority',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', ''],
    ],
  ],
  [
    'no port',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', '10.0.0.1'],
    ],
  ],
  [
    'port 0',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', '10.0.0.1:0'],
    ],
  ],
  [
    'port 65536',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', '10.0.0.1:65536'],
    ],
  ],
  [
    'a leading zero',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', '010.0.0.1:80'],
    ],
  ],
  [
    'a decimal address',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', '167772161:80'],
    ],
  ],
  [
    'IPv6 without brackets',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', '::1:80'],
    ],
  ],
  [
    'a zone',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', '[fe80::1%25eth0]:80'],
    ],
  ],
  [
    'a user',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', 'a@b:80'],
    ],
  ],
  [
    'a path in the authority',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:80/x'],
    ],
  ],
  [
    'a percent',
    'refused',
    [
      [':method', 'CONNECT'],
      [':authority', 'a%3a:80'],
    ],
  ],
  ['no method', 'malformed', [[':authority', '10.0.0.1:80']]],
  [
    'GET without a path',
    'malformed',
    [
      [':method', 'GET'],
      [':scheme', 'https'],
    ],
  ],
  [
    'GET with an empty path',
    'malformed',
    [
      [':method', 'GET'],
      [':scheme', 'https'],
      [':path', ''],
    ],
  ],
  ['CONNECT with a path', 'malformed', [...connect, [':path', '/']]],
  ['CONNECT with a scheme', 'malformed', [...connect, [':scheme', 'https']]],
  ['extended CONNECT, which we do not offer', 'malformed', [...connect, [':protocol', 'websocket']]],
  ['a pseudo header twice', 'malformed', [...connect, [':authority', '10.0.0.2:80']]],
  ['an unknown pseudo header', 'malformed', [...connect, [':x', 'y']]],
  ['a response pseudo header', 'malformed', [...connect, [':status', '200']]],
  [
    'a pseudo header after a field',
    'malformed',
    [
      [':method', 'CONNECT'],
      ['a', 'b'],
      [':authority', 'a:80'],
    ],
  ],
  ['an upper-case name', 'malformed', withField('Baggage', 'x')],
  ['an empty name', 'malformed', withField('', 'x')],
  ['a name with a space', 'malformed', withField('a b', 'x')],
  ['a name with a colon', 'malformed', withField('a:b', 'x')],
  ['a high byte in a name', 'malformed', withField('é', 'x')],
  ['a NUL in a value', 'malformed', withField('a', 'x\0y')],
  ['a CR in a value', 'malformed', withField('a', 'x\ry')],
  ['an LF in a value', 'malformed', withField('a', 'x\ny')],
  ['a leading blank', 'malformed', withField('a', ' x')],
  ['a trailing tab', 'malformed', withField('a', 'x\t')],
  [
    'an LF in the authority',
    'malformed',
    [
      [':method', 'CONNECT'],
      [':authority', 'a:80\n'],
    ],
  ],
  ['connection', 'malformed', withField('connection', 'close')],
  ['keep-alive', 'malformed', withField('keep-alive', '1')],
  ['proxy-connection', 'malformed', withField('proxy-connection', 'x')],
  ['transfer-encoding', 'malformed', withField('transfer-encoding', 'chunked')],
  ['upgrade', 'malformed', withField('upgrade', 'h2c')],
  ['te: gzip', 'malformed', withField('te', 'gzip')],
]

describe('the head of a request', () => {
  for (const [name, kind, list] of heads)
    it(`with ${name} is ${kind}`, () => expect(readRequestHead(list).kind).toBe(kind))

  it('keeps what it was given in its reasons printable', () => {
    const head = readRequestHead([
      [':method', 'GE\u001b\u009bT'],
      [':scheme', 'x'],
      [':path', '/'],
    ])
    expect(head.kind === 'refused' && head.reason).toBe('expected method CONNECT, got "GE\\u001b\\u009bT"')
  })
})

describe('the head of an answer', () => {
  it('has a status of three digits', () => {
    expect(
      readResponseHead([
        [':status', '200'],
        ['baggage', 'x'],
      ]),
    ).toEqual({
      kind: 'response',
      status: 200,
      headers: [['baggage', 'x']],
    })
    for (const status of ['', '20', '0200', '600', '099', 'abc', '20 '])
      expect(readResponseHead([[':status', status]]).kind).toBe('malformed')
    expect(readResponseHead([]).kind).toBe('malformed')
    expect(
      readResponseHead([
        [':status', '200'],
        [':method', 'GET'],
      ]).kind,
    ).toBe('malformed')
  })
})

describe('headers that we are to send', () => {
  it('are refused when a peer would call them malformed', () => {
    expect(
      headerProblem([
        ['baggage', 'a=b'],
        ['x', ''],
      ]),
    ).toBeUndefined()
    for (const header of [
      [':path', '/'],
      ['X', 'y'],
      ['x', 'a\r\nb'],
      ['connection', 'x'],
      ['', 'x'],
    ] as const)
      expect(headerProblem([header]), header[0]).toBeTypeOf('string')
  })
})
