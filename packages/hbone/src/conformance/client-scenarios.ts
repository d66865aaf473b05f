/** What is done to a client that comes, connection by connection, and what it must make of it. */
import { FLAG, FRAME, SETTING } from '../http2/codes.ts'
import { encodeHeaders } from '../http2/hpack.ts'
import { type ClientCase, factCases } from './client-facts.ts'
import type { Visit } from './client-visit.ts'
import { check, skip } from './verdict.ts'
import { frame, goaway, headersFrame, resetStream, windowUpdate } from './wire.ts'

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
const HARMLESS_CODES = ['NO_ERROR', 'CANCEL', 'INTERNAL_ERROR', 'CONNECT_ERROR']
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
    cases: [...factCases, ...tunnelCases],
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
      wire.send(headersFrame(stream.id, [[':status', '503']], true))
      // What was on its way is none of its faults. A client may also leave over a refusal.
      await wire.sync().catch(() => {})
      const before = stream.bytes
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
  {
    name: 'GOAWAY',
    settings: [],
    asStranger: false,
    cases: [
      {
        id: 'client-no-resumption',
        title: 'does not resume sessions',
        requirement: 'HBONE-TLS-11',
        level: 'SHOULD',
        run: async visit => check(!(await visit.tls()).isResumed, 'resumed one'),
      },
      {
        id: 'client-goaway-keeps',
        title: 'finishes its tunnel after GOAWAY',
        requirement: 'HBONE-AWAY-2',
        level: 'MUST',
        run: afterGoaway,
      },
      {
        id: 'client-goaway',
        title: 'opens no stream after GOAWAY',
        requirement: 'HBONE-AWAY-3',
        level: 'MUST',
        run: async visit => {
          const [wire, stream] = [await visit.wire(), await visit.request()]
          check(Math.max(...wire.streams.keys()) === stream.id, 'opened another one')
        },
      },
    ],
  },
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
  check(stream.resetCode === undefined, `reset its tunnel with ${stream.resetCode ?? ''}`)
  await wire.sendData(stream, ANSWER, true)
  await wire.until('its own end', () => stream.ended || stream.resetCode !== undefined || wire.ended)
}

async function foreignServer(visit: Visit): Promise<void> {
  const tls = await visit.tls().catch(() => undefined)
  if (tls === undefined) return
  const wire = await visit.wire()
  await wire.until('', () => wire.ended || wire.streams.size > 0).catch(() => {})
  check(wire.streams.size === 0, 'sent its CONNECT to a server of a foreign CA')
}
