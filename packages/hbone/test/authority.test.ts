/** The authority of a CONNECT: a host or an IP literal and a port, or 400; a malformed one is never handed out. */
import {
  connect,
  createDoubleHbonePool,
  createHbonePool,
  isFromOtherNetwork,
  type RefusedRequest,
} from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { type HeaderList, HpackDecoder } from '../src/http2/hpack.ts'
import { db, failure, harness, later, web } from './harness.ts'
import { type RawPeer, rawClient, request, TYPE } from './raw-peer.ts'

const LABEL_63 = 'a'.repeat(63)
const NAME_253 = `${LABEL_63}.${LABEL_63}.${LABEL_63}.${'a'.repeat(61)}`

const good = [
  '10.0.0.1:80',
  '0.0.0.0:1',
  '255.255.255.255:65535',
  '127.0.0.1:15008',
  '[::1]:80',
  '[::]:80',
  '[2001:db8::1]:443',
  '[2001:DB8::A]:443',
  '[1:2:3:4:5:6:7:8]:9',
  '[::ffff:10.0.0.1]:80',
  '[64:ff9b::10.0.0.1]:80',
  'web:80',
  'web.shop.svc.cluster.local:8080',
  'WEB.Shop:80',
  'a:1',
  '1a:80',
  '3com.example:80',
  'xn--bcher-kva.example:443',
  '_http._tcp.web.shop:80',
  'under_score:80',
  'a-b--c.d:80',
  `${LABEL_63}:80`,
  `${NAME_253}:80`,
  '10.0.0.1.example:80',
] as const

const bad = [
  ['', 'nothing'],
  [':80', 'no host'],
  ['web', 'no port'],
  ['web:', 'an empty port'],
  ['10.0.0.1', 'an IPv4 address without a port'],
  ['::1', 'an IPv6 address without brackets and port'],
  ['::1:80', 'an IPv6 address without brackets'],
  ['2001:db8::1:443', 'an IPv6 address whose port cannot be told'],
  ['[::1]', 'brackets without a port'],
  ['[::1]80', 'brackets without a colon'],
  ['[::1:80', 'a bracket that is not closed'],
  ['::1]:80', 'a bracket that is not opened'],
  ['[]:80', 'empty brackets'],
  ['[10.0.0.1]:80', 'IPv4 in brackets'],
  ['[web]:80', 'a name in brackets'],
  ['[fe80::1%eth0]:80', 'a zone'],
  ['[fe80::1%25eth0]:80', 'an encoded zone'],
  ['[::1]:80:80', 'two ports behind brackets'],
  ['[[::1]]:80', 'brackets twice'],
  ['[v1.fe80::a]:80', 'an address of the future'],
  ['[1:2:3:4:5:6:7]:80', 'seven groups'],
  ['[1:2:3:4:5:6:7:8:9]:80', 'nine groups'],
  ['[::1::2]:80', 'two gaps'],
  ['[::12345]:80', 'a group of five digits'],
  ['[::256.0.0.1]:80', 'an embedded address out of range'],
  ['web:0', 'port 0'],
  ['web:00', 'port 00'],
  ['web:080', 'a port with a zero in front'],
  ['web:65536', 'a port too high'],
  ['web:99999', 'a port of five digits too high'],
  ['web:123456', 'a port of six digits'],
  ['web:-1', 'a negative port'],
  ['web:+80', 'a signed port'],
  ['web:8e1', 'a port in another notation'],
  ['web:0x50', 'a hexadecimal port'],
  ['web:80 ', 'a space behind'],
  ['web:8 0', 'a space in the port'],
  ['web: 80', 'a space before the port'],
  ['web:http', 'a service name'],
  ['web:８０', 'digits of another script'],
  ['010.0.0.1:80', 'octal, or not'],
  ['10.0.0.01:80', 'a zero in front'],
  ['10.0.1:80', 'three parts'],
  ['10.1:80', 'two parts'],
  ['2130706433:80', 'one number'],
  ['0x7f.0.0.1:80', 'hexadecimal parts'],
  ['0x7f000001:80', 'one hexadecimal number'],
  ['0x7f.1:80', 'two parts, one hexadecimal'],
  ['127.0.0.0x1:80', 'a hexadecimal last part'],
  ['256.0.0.1:80', 'a part out of range'],
  ['10.0.0.1.:80', 'an address with a dot behind'],
  ['10.0.0.1.5:80', 'five parts'],
  ['１０.0.0.1:80', 'digits of another script in an address'],
  ['web.:80', 'a name with a dot behind'],
  ['.web:80', 'a dot in front'],
  ['a..b:80', 'an empty label'],
  ['-web:80', 'a hyphen in front'],
  ['web-:80', 'a hyphen behind'],
  ['a.-b.c:80', 'a hyphen in front of a label'],
  [`${LABEL_63}a:80`, 'a label of 64'],
  [`${NAME_253}a:80`, 'a name of 254'],
  ['*:80', 'a wildcard'],
  ['*.web:80', 'a wildcard label'],
  ['web@db:80', 'user information'],
  ['user:secret@web:80', 'a user and a password'],
  ['http://web:80', 'a scheme'],
  ['//web:80', 'slashes'],
  ['web:80/', 'a path'],
  ['web/path:80', 'a path before the port'],
  ['web:80?x', 'a query'],
  ['web:80#x', 'a fragment'],
  ['web\\db:80', 'a backslash'],
  ['w%65b:80', 'an encoded letter'],
  ['web%00:80', 'an encoded NUL'],
  ['we b:80', 'a space'],
  ['web\t:80', 'a tab'],
  ['wéb:80', 'a letter beyond ASCII'],
  ['wеb:80', 'a Cyrillic letter'],
  ['\u212Aube:80', 'the Kelvin sign, a k to some'],
  ['web,db:80', 'a list'],
  ['web;db:80', 'a semicolon'],
  ['"web":80', 'quotes'],
  ['web:80,db:80', 'two of them'],
  ['localhost:80\u00a0', 'a no-break space'],
  [`${'a.'.repeat(2_000)}a:80`, 'thousands of labels'],
] as const

/** What RFC 9113 calls malformed is a stream error; all else that is no authority is 400. */
const malformed = ['web:80 ', '\tweb:80', 'web\n:80', 'web\r:80', 'web\0:80', 'web:80\0'] as const

const isMalformed = (text: string): boolean => (malformed as readonly string[]).includes(text)

/** As a client that sends bytes as they are: of text beyond ASCII, UTF-8. */
function connectTo(authority: string): HeaderList {
  return [
    [':method', 'CONNECT'],
    [':authority', Buffer.from(authority, 'utf8').toString('latin1')],
  ]
}

/** The status, or the code of a reset before it. */
function answerTo(peer: RawPeer, id: number): string | undefined {
  const [answer] = peer.frames.filter(frame => frame.id === id)
  if (answer?.type === TYPE.reset) return `reset ${answer.payload.readUInt32BE()}`
  if (answer?.type !== TYPE.headers) return undefined
  return new HpackDecoder(4_096).decode(answer.payload).headers.find(([name]) => name === ':status')?.[1]
}

describe('an authority', async () => {
  it(`has ${good.length} good forms here, handed out as they came`, async () => {
    const handed: string[] = []
    const h = await harness({
      onTunnel: request => {
        handed.push(request.authority)
        request.accept().end()
      },
    })
    for (const authority of good) (await h.connect({ authority })).channel.reset('CANCEL', 'done')
    expect(handed).toEqual(good)
  })

  it(`has ${bad.length} bad forms here, each answered 400 and never handed out`, async () => {
    const refused: RefusedRequest[] = []
    const handed: string[] = []
    const { port, server } = await harness({
      onRefused: seen => refused.push(seen),
      onTunnel: request => {
        handed.push(request.authority)
      },
    })
    const peer = await rawClient(port.port, web)
    peer.settings()
    const asked = bad.map(([authority, what], index) => ({ authority, what, id: 2 * index + 1 }))
    for (const { authority, id } of asked) peer.write(request(id, 4, connectTo(authority)))
    await peer.sync()
    const answers = asked.map(({ what, id }) => [what, answerTo(peer, id)] as const)
    expect(Object.fromEntries(answers)).toEqual(
      Object.fromEntries(
        asked.map(({ authority, what }) => [what, isMalformed(authority) ? 'reset 1' : '400']),
      ),
    )
    expect(handed).toEqual([])
    expect(refused.every(({ reason }) => reason.startsWith('no valid authority pseudo header: '))).toBe(true)
    expect(refused).toHaveLength(bad.filter(([authority]) => !isMalformed(authority)).length)
    expect(server.sessions).toBe(1)
  })

  it.each(malformed.map(text => [JSON.stringify(text), text]))(
    '%s is malformed HTTP/2: its stream is reset',
    async (_, authority) => {
      const { port, server } = await harness({ onTunnel: () => expect.unreachable() })
      const peer = await rawClient(port.port, web)
      peer.settings()
      peer.write(request(1, 4, connectTo(authority)))
      await peer.sync()
      expect(answerTo(peer, 1)).toBe('reset 1')
      expect(server.sessions).toBe(1)
    },
  )
})

/** What obeys a terminal, forges a line of a log, or became a question mark on the wire. */
const hostile = [
  'a\r\nx: y:80',
  '\u001b[2J:80',
  'web\u009b2J:80',
  'we\u202eb:80',
  'b\u2028:80',
  'ü:80',
  '网:80',
] as const
const texts = new Set([...bad.map(([authority]) => authority), ...malformed, ...hostile])

describe('an authority that is none', () => {
  const to = { address: '127.0.0.1', port: 1 }
  const base = { credentials: web, to, expect: [db.id] }

  it('is refused by its name before anything is dialled, and can be printed', async () => {
    const dial = (): never => expect.unreachable()
    const pool = createHbonePool({ dial })
    const double = createDoubleHbonePool({ outer: pool })
    later(() => Promise.all([double.close(), pool.close()]))
    for (const authority of texts) {
      const ways = [
        pool.connect({ ...base, authority }),
        connect({ ...base, authority, dial }),
        double.connect({ ...base, authority, gateway: { expect: [db.id] } }),
      ]
      for (const way of ways) {
        const { code, message } = await failure(way)
        expect([code, message.slice(0, 12)]).toEqual(['AMBIENT_E_HBONE_OPTION', 'authority: "'])
        expect(message).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u)
        expect(message.length).toBeLessThan(500)
      }
    }
    const headers = [['Upper', 'x']] as const
    const { message } = await failure(pool.connect({ ...base, authority: 'web:80', headers }))
    expect(message).toBe('headers: "Upper" is not a field name')
  })

  it('is not sent on a session that is there, and is nobody else’s failure', async () => {
    const asked: string[] = []
    const refused: RefusedRequest[] = []
    const h = await harness({
      onRefused: seen => refused.push(seen),
      onTunnel: tunnel => {
        asked.push(tunnel.authority)
        tunnel.accept()
      },
    })
    // Both wait for the same session, and the bad one came first.
    const both = await Promise.allSettled([
      h.connect({ authority: 'we b:80' }),
      h.connect({ authority: 'web:80' }),
    ])
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
    await Promise.all([...texts].map(authority => failure(h.connect({ authority }))))
    await h.connect({ authority: 'web:81' })
    expect([asked, refused]).toEqual([['web:80', 'web:81'], []])
  })
})

describe('x-forwarded-network', () => {
  const own = 'net1'
  it.each<[string, readonly string[], boolean]>([
    ['absent', [], false],
    ['our own', ['net1'], false],
    ['our own in other case', ['NET1'], false],
    ['another one', ['net2'], true],
    ['without a name', [''], true],
    ['ours first', ['net1', 'net2'], false],
    ['another one first', ['net2', 'net1'], true],
    ['beyond ASCII', ['n\u00e9t'], false],
  ])('%s', (_, values, expected) => {
    const headers = values.map(value => ['x-forwarded-network', value] as const)
    expect(isFromOtherNetwork([['baggage', 'net3'], ...headers], own)).toBe(expected)
  })

  it('folds ASCII only', () => {
    expect(isFromOtherNetwork([['x-forwarded-network', 'k']], '\u212A')).toBe(true)
    expect(isFromOtherNetwork([['x-forwarded-network', '']], '')).toBe(false)
  })

  it('arrives as it was sent, without a name too', async () => {
    const seen: (readonly (readonly [string, string])[])[] = []
    const h = await harness({
      onTunnel: request => {
        seen.push(request.headers)
        request.refuse(503)
      },
    })
    for (const network of ['', 'Net-1'])
      await failure(h.connect({ headers: [['x-forwarded-network', network]] }))
    expect(seen).toEqual([[['x-forwarded-network', '']], [['x-forwarded-network', 'Net-1']]])
  })
})
