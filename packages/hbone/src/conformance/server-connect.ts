/** What a server must make of CONNECT, well-formed or not, and of everything that is no CONNECT. */
import type { HeaderList } from '../http2/hpack.ts'
import { closedPort } from './origin.ts'
import type { ServerCase } from './server-case.ts'
import { answer, answerOrEnd, connectTo, isSuccess, type Target } from './target.ts'
import { check, skip } from './verdict.ts'

/** Not `host:port`, or nothing that could be dialled. */
const MALFORMED_AUTHORITIES = [
  '127.0.0.1',
  '127.0.0.1:',
  ':80',
  '127.0.0.1:0',
  '127.0.0.1:65536',
  '127.0.0.1:+80',
  '127.0.0.1:80x',
  'user@127.0.0.1:80',
  '[::1:80',
  'a b:80',
  'http://127.0.0.1:80',
]

/** Fields that RFC 9113 §8.2 and §8.3 call malformed. */
const MALFORMED_HEADS: readonly (readonly [
  id: string,
  what: string,
  fields: (good: HeaderList) => HeaderList,
])[] = [
  ['path', 'a :path', good => [...good, [':path', '/']]],
  ['scheme', 'a :scheme', good => [...good, [':scheme', 'https']]],
  ['authority-twice', ':authority twice', good => [...good, ...good.slice(1)]],
  ['pseudo-unknown', 'an unknown pseudo header', good => [...good, [':target', 'x']]],
  [
    'pseudo-late',
    'a pseudo header after a field',
    good => [...good.slice(0, 1), ['x', 'y'], ...good.slice(1)],
  ],
  ['upper-case', 'a field name in upper case', good => [...good, ['X-Upper', 'y']]],
  ['connection', 'a connection field', good => [...good, ['connection', 'close']]],
  ['transfer-encoding', 'transfer-encoding', good => [...good, ['transfer-encoding', 'chunked']]],
  ['line-break', 'a line break in a value', good => [...good, ['x', 'y\r\nz: a']]],
]

export const connectCases: readonly ServerCase[] = [
  {
    id: 'connect-200',
    title: 'answers CONNECT with 200 and leaves the stream open',
    requirement: 'HBONE-RES-1',
    level: 'MUST',
    run: async target => {
      await target.tunnel(await target.session())
    },
  },
  {
    id: 'answer-without-length',
    title: 'sends no content-length and no transfer-encoding with 200',
    requirement: 'HBONE-RES-2',
    level: 'MUST',
    run: async target => {
      const { head } = await target.tunnel(await target.session())
      const wrong = (head ?? []).filter(([name]) => name === 'content-length' || name === 'transfer-encoding')
      check(wrong.length === 0, `sent ${wrong.map(field => field.join(': ')).join(', ')}`)
    },
  },
  {
    id: 'early-data',
    title: 'passes on what came before its answer',
    requirement: 'HBONE-RES-6',
    level: 'SHOULD',
    run: async target => {
      const wire = await target.session()
      const stream = wire.request(target.head)
      await wire.sendData(stream, Buffer.from('early'))
      check((await answer(wire, stream)) === '200', 'such a CONNECT was refused')
      await wire.until('the echo', () => stream.bytes >= 5)
      check(wire.received(stream).toString() === 'early', 'something else came back')
    },
  },
  {
    id: 'mesh-headers',
    title: 'takes the headers of a mesh, and fields it does not know',
    requirement: 'HBONE-HDR-1',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const stream = await target.tunnel(wire, [
        ...target.head,
        [
          'baggage',
          'k8s.cluster.name=c,k8s.namespace.name=n,k8s.deployment.name=d,service.name=s,service.version=v1',
        ],
        ['forwarded', 'for="192.0.2.1:1234";host=app.example.svc.cluster.local'],
        ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00'],
        ['x-nobody-knows', 'this'],
      ])
      await target.echoes(wire, stream, 'hello')
    },
  },
  {
    id: 'headers-not-understood',
    title: 'carries a tunnel whose mesh headers make no sense',
    requirement: 'HBONE-HDR-2',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const stream = await target.tunnel(wire, [
        ...target.head,
        ['baggage', '=,,k8s.cluster.name=a=b=c,=x'],
        ['baggage', 'again'],
        ['forwarded', 'for=;host="'],
        ['traceparent', 'never-seen-such-a-thing'],
      ])
      await target.echoes(wire, stream, 'hello')
    },
  },
  {
    id: 'not-connect',
    title: 'refuses methods that are not CONNECT',
    requirement: 'HBONE-REQ-1',
    level: 'MUST',
    run: async target => {
      const status = await getRequest(target)
      check(!isSuccess(status), `GET was answered ${status}`)
    },
  },
  {
    id: 'not-connect-400',
    title: 'answers methods that are not CONNECT with 400',
    requirement: 'HBONE-REQ-2',
    level: 'SHOULD',
    run: async target => {
      const status = await getRequest(target)
      check(status === '400', `GET was answered ${status}`)
    },
  },
  {
    id: 'authority-malformed',
    title: 'dials nothing for a malformed authority',
    requirement: 'HBONE-REQ-4',
    level: 'MUST',
    run: malformedAuthorities,
  },
  {
    id: 'authority-400',
    title: 'answers an authority without a port with 400 and an end',
    requirement: 'HBONE-REQ-5',
    level: 'SHOULD',
    run: async target => {
      const wire = await target.session()
      const stream = wire.request(connectTo('127.0.0.1'))
      const status = await answerOrEnd(wire, stream)
      check(status === '400', `was answered ${status}`)
      check(stream.headEndedStream, 'the answer did not end the stream')
    },
  },
  ...MALFORMED_HEADS.map(
    ([id, what, fields]): ServerCase => ({
      id: `malformed-${id}`,
      title: `takes no CONNECT with ${what}`,
      requirement: 'HBONE-REQ-6',
      level: 'MUST',
      run: async target => {
        const wire = await target.session()
        const status = await answerOrEnd(wire, wire.request(fields(target.head)))
        check(!isSuccess(status), `it was answered ${status}`)
      },
    }),
  ),
  {
    id: 'session-survives',
    title: 'keeps a session over requests that it refuses',
    requirement: 'HBONE-SES-2',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const stream = await target.tunnel(wire)
      await answer(wire, wire.request(connectTo('127.0.0.1')))
      await answer(wire, wire.request([...target.head, [':path', '/']]))
      await target.echoes(wire, stream, 'unharmed')
      await target.stillWorks(wire)
    },
  },
  {
    id: 'unreachable',
    title: 'answers 200 only when the target is reached',
    requirement: 'HBONE-RES-3',
    level: 'MUST',
    run: async target => {
      const status = await unreachable(target)
      check(!isSuccess(status), `a target where nobody listens was answered ${status}`)
    },
  },
  {
    id: 'unreachable-503',
    title: 'answers 503 and an end when the target is not reached',
    requirement: 'HBONE-RES-4',
    level: 'SHOULD',
    run: async target => {
      const status = await unreachable(target)
      check(status === '503 and an end', `a target where nobody listens was answered ${status}`)
    },
  },
]

async function getRequest(target: Target): Promise<string> {
  const wire = await target.session()
  const fields: HeaderList = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':path', '/'],
    [':authority', target.authority],
  ]
  return answerOrEnd(wire, wire.request(fields, true))
}

async function malformedAuthorities(target: Target): Promise<void> {
  const { origin } = target.facts
  const before = origin?.arrivals
  const taken: string[] = []
  for (const authority of ['', ...MALFORMED_AUTHORITIES]) {
    // One session each: a server may end one over such a request.
    const wire = await target.session()
    const status = await answerOrEnd(wire, wire.request(connectTo(authority)))
    if (isSuccess(status)) taken.push(JSON.stringify(authority))
    wire.transport.destroy()
  }
  check(taken.length === 0, `answered with success: ${taken.join(', ')}`)
  check(origin?.arrivals === before, 'the application was dialled')
}

/** The status of a CONNECT to a port that nobody listens on. */
async function unreachable(target: Target): Promise<string> {
  if (target.facts.origin === undefined) skip('the server was not seen to dial what it is asked for')
  const wire = await target.session()
  const stream = wire.request(connectTo(`127.0.0.1:${await closedPort('127.0.0.1')}`))
  const status = await answerOrEnd(wire, stream)
  return stream.headEndedStream ? `${status} and an end` : status
}
