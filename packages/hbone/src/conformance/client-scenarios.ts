/** What is done to a client that comes, connection by connection, and what it must make of it. */
import { readHostPort, readSpiffeId } from '@ambient/core'
import { headerValues } from '../headers.ts'
import { FLAG, FRAME, SETTING } from '../http2/codes.ts'
import { encodeHeaders } from '../http2/hpack.ts'
import type { Visit } from './client-visit.ts'
import { uriNames } from './server-tls.ts'
import { check, type ConformanceCase, fail, skip } from './verdict.ts'
import { frame, goaway, headersFrame, resetStream, windowUpdate } from './wire.ts'

export interface ClientCase extends ConformanceCase {
  run(visit: Visit): Promise<void>
}

/** One connection; its cases look at it in their order. */
export interface ClientScenario {
  readonly name: string
  readonly settings: readonly (readonly [number, number])[]
  /** Whether our own certificate is one of a foreign CA. */
  readonly asStranger: boolean
  readonly cases: readonly ClientCase[]
}

const ANSWER_BYTES = 1 << 20
/** For programs that speak HTTP/1 inside; others take it for bytes. */
const ANSWER = Buffer.concat([
  Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${ANSWER_BYTES}\r\nconnection: close\r\n\r\n`),
  Buffer.alloc(ANSWER_BYTES, 'hbone '),
])
const BAGGAGE =
  /^((k8s\.(cluster|namespace|deployment|cronjob|pod|job)\.name|service\.(name|version)|cloud\.(region|availability_zone))=[!-+\--<>-~]+(,(?=.)|$))*$/
const FORWARDED = /^for="(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]):\d{1,5}"(;host=[A-Za-z0-9._-]+)?$/
const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const HARMLESS_CODES = ['NO_ERROR', 'CANCEL', 'INTERNAL_ERROR', 'CONNECT_ERROR']
const UNKNOWN_TYPE = 0x4b
const UNKNOWN_SETTING = 0x1a2a

const tlsCases: readonly ClientCase[] = [
  {
    id: 'client-tls-1.3',
    title: 'speaks TLS 1.3',
    requirement: 'HBONE-TLS-1',
    level: 'MUST',
    run: async visit => {
      const { protocol } = await visit.tls()
      check(protocol === 'TLSv1.3', `spoke ${protocol}`)
    },
  },
  {
    id: 'client-alpn',
    title: 'offers h2 by ALPN, and nothing else',
    requirement: 'HBONE-TLS-5',
    level: 'MUST',
    run: async visit => {
      const { offered } = await visit.tls()
      check(offered?.join() === 'h2', `offered ${offered?.join(', ') ?? 'nothing'}`)
    },
  },
  {
    id: 'client-no-sni',
    title: 'sends no server name',
    requirement: 'HBONE-TLS-9',
    level: 'SHOULD',
    run: async visit => {
      const { serverName } = await visit.tls()
      check(serverName === undefined, `sent ${serverName ?? ''}`)
    },
  },
  {
    id: 'client-certificate',
    title: 'presents a certificate',
    requirement: 'HBONE-TLS-7',
    level: 'MUST',
    run: async visit => check((await visit.tls()).chain.length > 0, 'presented none'),
  },
  {
    id: 'client-svid',
    title: 'proves exactly one SPIFFE ID, namespace and service account',
    requirement: 'HBONE-ID-1',
    level: 'MUST',
    run: async visit => {
      const [leaf] = (await visit.tls()).chain
      if (leaf === undefined) fail('presented no certificate')
      const uris = uriNames(leaf)
      check(uris.length === 1, `its certificate has ${uris.length} URIs: ${uris.join(', ')}`)
      const read = readSpiffeId(uris[0] ?? '')
      check(read.ok, read.ok ? '' : `${uris[0] ?? ''}: ${read.reason}`)
    },
  },
]

const http2Cases: readonly ClientCase[] = [
  {
    id: 'client-settings-first',
    title: 'begins with the preface and SETTINGS',
    requirement: 'HBONE-H2-1',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      const first = await wire.until('the first frame', () => wire.frames[0])
      check(
        first.type === FRAME.settings && (first.flags & FLAG.ack) === 0,
        `the first frame has type ${first.type}`,
      )
    },
  },
  {
    id: 'client-push-off',
    title: 'switches push off',
    requirement: 'HBONE-H2-2',
    level: 'SHOULD',
    run: async visit => {
      const wire = await visit.wire()
      const settings = await wire.until('SETTINGS', () => wire.settings)
      check(settings.get(SETTING.enablePush) === 0, 'ENABLE_PUSH is not 0')
    },
  },
  {
    id: 'client-settings-acknowledged',
    title: 'acknowledges SETTINGS',
    requirement: 'HBONE-H2-15',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      await wire.until('the acknowledgement', () => wire.settingsAcks > 0)
    },
  },
  {
    id: 'client-ping',
    title: 'answers PING with the same eight bytes',
    requirement: 'HBONE-H2-10',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      wire.send(frame(FRAME.ping, 0, 0, Buffer.from('conform!')))
      await wire.until('the answer to PING', () => wire.answered('conform!'))
    },
  },
  {
    id: 'client-unknown-ignored',
    title: 'ignores unknown frames and settings',
    requirement: 'HBONE-H2-11',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      wire.sendSettings([UNKNOWN_SETTING, 7])
      wire.send(frame(UNKNOWN_TYPE, 0xff, 0, Buffer.from('grease')))
      await wire.sync()
      check(wire.goaways.length === 0, `said GOAWAY (${wire.goaways[0]?.code ?? ''})`)
    },
  },
]

const connectCases: readonly ClientCase[] = [
  {
    id: 'client-connect',
    title: 'asks with :method CONNECT and :authority, and leaves the stream open',
    requirement: 'HBONE-REQ-3',
    level: 'MUST',
    run: async visit => {
      const { head, headEndedStream } = await visit.request()
      const pseudo = head.filter(([name]) => name.startsWith(':')).map(([name]) => name)
      check(pseudo.sort().join() === ':authority,:method', `sent ${pseudo.join(', ')}`)
      check(headerValues(head, ':method')[0] === 'CONNECT', `asked ${headerValues(head, ':method').join()}`)
      check(!headEndedStream, 'ended the stream at once')
    },
  },
  {
    id: 'client-authority',
    title: 'asks for host:port',
    requirement: 'HBONE-REQ-7',
    level: 'MUST',
    run: async visit => {
      const authority = headerValues((await visit.request()).head, ':authority').join()
      const read = readHostPort(authority)
      check(read.ok, read.ok ? '' : `${authority}: ${read.reason}`)
    },
  },
  {
    id: 'client-no-length',
    title: 'sends no content-length and no transfer-encoding',
    requirement: 'HBONE-REQ-8',
    level: 'MUST',
    run: async visit => {
      const { head } = await visit.request()
      const wrong = head.filter(([name]) => name === 'content-length' || name === 'transfer-encoding')
      check(wrong.length === 0, `sent ${wrong.map(field => field.join(': ')).join(', ')}`)
    },
  },
  ...headerCases('baggage', BAGGAGE, 'HBONE-HDR-3', 'HBONE-HDR-4'),
  ...headerCases('forwarded', FORWARDED, 'HBONE-HDR-5', 'HBONE-HDR-6'),
  ...headerCases('traceparent', TRACEPARENT, 'HBONE-HDR-7', 'HBONE-HDR-8'),
  {
    id: 'client-no-network',
    title: 'keeps x-forwarded-network for double HBONE',
    requirement: 'HBONE-HDR-9',
    level: 'MUST',
    run: async visit => {
      const values = headerValues((await visit.request()).head, 'x-forwarded-network')
      check(values.length === 0, `sent ${JSON.stringify(values[0] ?? '')}`)
    },
  },
]

/** Whether a header is sent, and whether it is in form. */
function headerCases(name: string, form: RegExp, sent: string, formed: string): readonly ClientCase[] {
  return [
    {
      id: `client-${name}`,
      title: `sends ${name}`,
      requirement: sent,
      level: 'SHOULD',
      run: async visit => check(headerValues((await visit.request()).head, name).length > 0, 'sent none'),
    },
    {
      id: `client-${name}-form`,
      title: `sends ${name} in its form`,
      requirement: formed,
      level: 'MUST',
      run: async visit => {
        const values = headerValues((await visit.request()).head, name)
        if (values.length === 0) skip('sent none')
        const wrong = values.find(value => !form.test(value))
        check(wrong === undefined, `sent ${JSON.stringify(wrong ?? '')}`)
      },
    },
  ]
}

const tunnelCases: readonly ClientCase[] = [
  {
    id: 'client-window-given-back',
    title: 'gives window back for what it has read',
    requirement: 'HBONE-H2-7',
    level: 'MUST',
    run: async visit => {
      const { wire, stream } = await visit.accept()
      await someData(visit)
      await wire.sendData(stream, ANSWER, true)
    },
  },
  {
    id: 'client-end',
    title: 'takes an end for an end',
    requirement: 'HBONE-BYTE-3',
    level: 'MUST',
    run: async visit => {
      const [wire, stream] = [await visit.wire(), await visit.request()]
      // Sent with the last byte of the answer before.
      await wire.until('its own end', () => stream.ended || stream.resetCode !== undefined || wire.ended)
      // The program behind it may have had enough; what must not come is that the end was wrong.
      const { resetCode } = stream
      const isHarmless = resetCode === undefined || HARMLESS_CODES.includes(resetCode)
      check(isHarmless, `answered END_STREAM with RST_STREAM(${resetCode ?? ''})`)
      check(
        wire.goaways.every(({ code }) => code === 'NO_ERROR'),
        'ended the session over it',
      )
    },
  },
]

export const scenarios: readonly ClientScenario[] = [
  {
    name: 'a tunnel',
    settings: [],
    asStranger: false,
    cases: [...tlsCases, ...http2Cases, ...connectCases, ...tunnelCases],
  },
  scenario('a window of 10 bytes', [[SETTING.initialWindowSize, 10]], {
    id: 'client-window',
    title: 'sends no more than a stream’s window allows',
    requirement: 'HBONE-H2-6',
    level: 'MUST',
    run: smallWindow,
  }),
  scenario('an answer in pieces', [], {
    id: 'client-answer-in-pieces',
    title: 'reads interim answers, CONTINUATION, dynamic entries and Huffman strings',
    requirement: 'HBONE-H2-13',
    level: 'MUST',
    run: answerInPieces,
  }),
  scenario('a refusal', [], {
    id: 'client-refused',
    title: 'sends nothing on a tunnel that was refused',
    requirement: 'HBONE-RES-7',
    level: 'MUST',
    run: async visit => {
      const stream = await visit.request()
      const wire = await visit.wire()
      const before = stream.bytes
      wire.send(headersFrame(stream.id, [[':status', '503']], true))
      await wire.sync()
      await wire.sync().catch(() => {})
      check(stream.bytes === before, `${stream.bytes - before} bytes followed a 503`)
    },
  }),
  scenario('a reset', [], {
    id: 'client-reset',
    title: 'sends nothing more on a stream that was reset, and keeps the session',
    requirement: 'HBONE-ERR-5',
    level: 'MUST',
    run: async visit => {
      const { wire, stream } = await visit.accept()
      wire.send(resetStream(stream.id, 'INTERNAL_ERROR'))
      await wire.sync()
      const isOf = (one: { readonly streamId: number; readonly type: number }): boolean =>
        one.streamId === stream.id && one.type !== FRAME.rstStream
      const before = wire.frames.filter(isOf).length
      await wire.sync().catch(() => {})
      check(wire.frames.filter(isOf).length === before, 'frames followed on a stream that was reset')
    },
  }),
  scenario('GOAWAY', [], {
    id: 'client-goaway',
    title: 'finishes its tunnel after GOAWAY, and opens no other on the session',
    requirement: 'HBONE-AWAY-3',
    level: 'MUST',
    run: afterGoaway,
  }),
  {
    name: 'a foreign server',
    settings: [],
    asStranger: true,
    cases: [
      {
        id: 'client-server-identity',
        title: 'asks nothing of a server whose identity it cannot verify',
        requirement: 'HBONE-ID-4',
        level: 'MUST',
        run: foreignServer,
      },
    ],
  },
]

function scenario(
  name: string,
  settings: readonly (readonly [number, number])[],
  only: ClientCase,
): ClientScenario {
  return { name, settings, asStranger: false, cases: [only] }
}

/** What the program behind the client says first. */
async function someData(visit: Visit): Promise<void> {
  const [wire, stream] = [await visit.wire(), await visit.request()]
  await wire
    .until('DATA', () => stream.bytes > 0 || stream.ended)
    .catch(() => skip('the program behind the client sent nothing'))
}

async function smallWindow(visit: Visit): Promise<void> {
  const wire = await visit.wire()
  wire.refill = false
  const stream = await visit.request()
  await wire.until('the acknowledgement of SETTINGS', () => wire.settingsAcks > 0)
  const early = stream.bytes
  if (early > 10) skip('DATA came before our SETTINGS were read')
  await visit.accept()
  await someData(visit)
  await wire.sync()
  check(stream.bytes <= 10, `${stream.bytes} bytes came where 10 were allowed`)
  if (stream.bytes < 10) skip('the program behind the client sent less than 10 bytes')
  wire.send(windowUpdate(stream.id, 5))
  await wire.sync()
  check(stream.bytes <= 15, `${stream.bytes} bytes came where 15 were allowed`)
}

async function answerInPieces(visit: Visit): Promise<void> {
  const stream = await visit.request()
  const wire = await visit.wire()
  // A literal that is put into the table, with a value in Huffman's code (RFC 7541 C.4.1), then a reference to it.
  const field = Buffer.from('400778 2d70726f6265 8cf1e3c2e5f23a6ba0ab90f4ff'.replaceAll(' ', ''), 'hex')
  const block = Buffer.concat([encodeHeaders([[':status', '200']]), field, Buffer.from([0x80 | 62])])
  wire.send(
    headersFrame(stream.id, [[':status', '103']]),
    frame(FRAME.headers, 0, stream.id, block.subarray(0, 1)),
    frame(FRAME.continuation, 0, stream.id, block.subarray(1, 7)),
    frame(FRAME.continuation, FLAG.endHeaders, stream.id, block.subarray(7)),
  )
  await wire.sync()
  check(stream.resetCode === undefined, `reset the stream with ${stream.resetCode ?? ''}`)
  check(wire.goaways.length === 0, `said GOAWAY (${wire.goaways[0]?.code ?? ''})`)
}

async function afterGoaway(visit: Visit): Promise<void> {
  const { wire, stream } = await visit.accept()
  await someData(visit)
  wire.send(goaway(stream.id, 'NO_ERROR'))
  await wire.sync()
  const opened = wire.streams.size
  check(stream.resetCode === undefined, `reset its tunnel with ${stream.resetCode ?? ''}`)
  await wire.sendData(stream, ANSWER, true)
  await wire.until('its own end', () => stream.ended || stream.resetCode !== undefined || wire.ended)
  check(wire.streams.size === opened, 'opened another stream after GOAWAY')
}

async function foreignServer(visit: Visit): Promise<void> {
  const tls = await visit.tls().catch(() => undefined)
  if (tls === undefined) return
  const wire = await visit.wire()
  await wire.until('', () => wire.ended || wire.streams.size > 0).catch(() => {})
  check(wire.streams.size === 0, 'sent its CONNECT to a server of a foreign CA')
}
