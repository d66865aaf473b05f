/** What happens to bytes, to their end and to their loss; and to the session around them. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { FLAG, FRAME } from '../http2/codes.ts'
import type { ServerCase } from './server-case.ts'
import { answer, type Target } from './target.ts'
import { check, skip } from './verdict.ts'
import { frame, goaway, resetStream } from './wire.ts'

/** Codes that a receiver may read as a clean end. */
const CLEAN_CODES = ['NO_ERROR', 'CANCEL']
/** More than every window and kernel buffer on the way together. */
const BACK_PRESSURE_BYTES = 96 << 20
const TUNNELS_AT_ONCE = 50

export const byteCases: readonly ServerCase[] = [
  {
    id: 'echo',
    title: 'carries bytes both ways, in order, each of them once',
    requirement: 'HBONE-BYTE-1',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const stream = await target.tunnel(wire)
      const bytes = Buffer.alloc(3 << 20)
      for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32BE(at, at)
      await wire.sendData(stream, bytes, true)
      await wire.until('the end of the echo', () => stream.ended)
      check(
        wire.received(stream).equals(bytes),
        `${stream.bytes} bytes came back, not the ${bytes.length} sent`,
      )
    },
  },
  {
    id: 'padding',
    title: 'takes padding off',
    requirement: 'HBONE-BYTE-2',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const stream = await target.tunnel(wire)
      const padded = Buffer.concat([Buffer.from([200]), Buffer.from('padded'), Buffer.alloc(200)])
      wire.send(frame(FRAME.data, FLAG.padded, stream.id, padded), frame(FRAME.data, 0, stream.id))
      await target.echoes(wire, stream, '-end').catch(() => {})
      await wire.until('the echo', () => stream.bytes >= 10)
      check(wire.received(stream).toString() === 'padded-end', 'what came back is not what was sent')
    },
  },
  {
    id: 'end-of-client',
    title: 'passes END_STREAM on as FIN, and still carries the other way',
    requirement: 'HBONE-BYTE-3',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const { stream, app } = await target.tunnelToApplication(wire)
      const heard = allOf(app)
      await wire.sendData(stream, Buffer.from('question'), true)
      check((await inTime(target, heard, 'FIN at the application')) === 'question', 'other bytes arrived')
      app.end('answer')
      await wire.until('END_STREAM', () => stream.ended)
      check(wire.received(stream).toString() === 'answer', 'what followed the FIN did not come through')
    },
  },
  {
    id: 'end-of-application',
    title: 'passes FIN on as END_STREAM, and still carries the other way',
    requirement: 'HBONE-BYTE-3',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const { stream, app } = await target.tunnelToApplication(wire)
      const heard = allOf(app)
      app.end('goodbye')
      await wire.until('END_STREAM', () => stream.ended)
      check(wire.received(stream).toString() === 'goodbye', 'what came before the FIN did not come through')
      await wire.sendData(stream, Buffer.from('one more thing'), true)
      const last = await inTime(target, heard, 'FIN at the application')
      check(last === 'one more thing', 'what followed the END_STREAM did not come through')
    },
  },
  {
    id: 'reset-of-application',
    title: 'shows a TCP reset as a reset, not as an end',
    requirement: 'HBONE-BYTE-4',
    level: 'SHOULD',
    run: async target => {
      const wire = await target.session()
      const { stream, app } = await target.tunnelToApplication(wire)
      await wire.sendData(stream, Buffer.from('x'))
      await inTime(target, once(app, 'data'), 'a byte at the application')
      app.resetAndDestroy()
      const what = await wire.until('the end of the tunnel', () =>
        stream.ended ? 'END_STREAM' : stream.resetCode,
      )
      check(what !== 'END_STREAM', 'a cut transfer ended with END_STREAM, as a complete one does')
      check(!CLEAN_CODES.includes(what), `the reset has code ${what}, which some read as a clean end`)
    },
  },
  {
    id: 'reset-of-client',
    title: 'passes RST_STREAM on as a TCP reset',
    requirement: 'HBONE-BYTE-5',
    level: 'SHOULD',
    run: target =>
      cutIsNoEnd(target, async (wire, id) => {
        wire.send(resetStream(id, 'INTERNAL_ERROR'))
        await wire.sync()
      }),
  },
  {
    id: 'loss-of-session',
    title: 'passes the loss of a session on as a TCP reset',
    requirement: 'HBONE-BYTE-5',
    level: 'SHOULD',
    run: target => cutIsNoEnd(target, async wire => void wire.transport.destroy()),
  },
  {
    id: 'end-before-close',
    title: 'delivers what was ended before the client went',
    requirement: 'HBONE-BYTE-6',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const { stream, app } = await target.tunnelToApplication(wire)
      const bytes = Buffer.alloc(60_000, 'last words ')
      let arrived = 0
      app.on('data', (chunk: Buffer) => {
        arrived += chunk.length
      })
      const over = Promise.race([once(app, 'end'), once(app, 'close')])
      await wire.sendData(stream, bytes, true)
      wire.transport.end()
      await inTime(target, over, 'an end at the application')
      check(arrived === bytes.length, `${arrived} of ${bytes.length} bytes arrived`)
    },
  },
  {
    id: 'many-tunnels',
    title: `carries ${TUNNELS_AT_ONCE} tunnels at once on one session`,
    requirement: 'HBONE-SES-1',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const streams = Array.from({ length: TUNNELS_AT_ONCE }, () => wire.request(target.head))
      for (const stream of streams) check((await answer(wire, stream)) === '200', 'not all were answered 200')
      await Promise.all(streams.map(stream => target.echoes(wire, stream, `I am ${stream.id}`)))
    },
  },
  {
    id: 'slow-neighbour',
    title: 'lets no stream that is not read hold up its neighbours',
    requirement: 'HBONE-SES-3',
    level: 'MUST',
    run: async target => {
      const wire = await target.session({ refill: false })
      const slow = await target.tunnel(wire)
      // Our window for one stream fills up; that of the connection is larger.
      await wire.sendData(slow, Buffer.alloc(Math.min(1 << 20, slow.sendWindow), 'slow '))
      await wire.sync()
      await target.stillWorks(wire)
    },
  },
  {
    id: 'back-pressure',
    title: 'takes no more than it can hold for an application that does not read',
    requirement: 'HBONE-SES-4',
    level: 'MUST',
    run: backPressure,
  },
  {
    id: 'goaway-of-client',
    title: 'keeps tunnels when the client says GOAWAY',
    requirement: 'HBONE-AWAY-2',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const stream = await target.tunnel(wire)
      wire.send(goaway(0, 'NO_ERROR'))
      await target.echoes(wire, stream, 'still here')
    },
  },
]

/** A tunnel that is cut must not look complete to the application. */
async function cutIsNoEnd(
  target: Target,
  cut: (wire: Awaited<ReturnType<Target['session']>>, id: number) => Promise<void>,
): Promise<void> {
  const wire = await target.session()
  const { stream, app } = await target.tunnelToApplication(wire)
  const ending = new Promise<string>(resolve => {
    app.once('end', () => resolve('FIN'))
    app.once('error', () => resolve('RST'))
  })
  await wire.sendData(stream, Buffer.from('half of a'))
  const [first] = (await inTime(target, once(app, 'data'), 'bytes at the application')) as [Buffer]
  check(first.toString() === 'half of a', 'other bytes arrived')
  await cut(wire, stream.id)
  const seen = await inTime(target, ending, 'an end at the application')
  check(seen === 'RST', 'the application saw a clean end of a transfer that was cut')
}

async function backPressure(target: Target): Promise<void> {
  const { origin, clock } = target.facts
  if (origin === undefined) skip('the application behind the tunnel is not ours to observe')
  const wire = await target.session()
  const { stream, app } = await target.tunnelToApplication(wire)
  app.pause()
  const piece = Buffer.alloc(1 << 20)
  let sent = 0
  let isBlocked = false
  // Blocked is who gets no window for a second: local servers need microseconds.
  const quiet = (): Promise<void> => new Promise(resolve => clock.after(1_000, resolve, { keepAlive: true }))
  while (!isBlocked && sent < BACK_PRESSURE_BYTES) {
    const before = sent
    const room = Math.min(piece.length, wire.sendWindow, stream.sendWindow)
    if (room > 0) {
      await wire.sendData(stream, piece.subarray(0, room))
      sent += room
    } else {
      await Promise.race([
        wire.until('window', () => Math.min(wire.sendWindow, stream.sendWindow) > 0),
        quiet(),
      ]).catch(() => {})
      isBlocked = Math.min(wire.sendWindow, stream.sendWindow) <= 0
    }
    check(!wire.ended, `the connection ended after ${before} bytes`)
  }
  check(isBlocked, `${sent >> 20} MiB were taken for an application that reads nothing`)
}

async function allOf(app: Socket): Promise<string> {
  let text = ''
  app.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
  })
  await once(app, 'end')
  return text
}

/** What the application sees, within the time that everything has. */
async function inTime<T>(target: Target, promise: Promise<T>, what: string): Promise<T> {
  const { clock, timeoutMs } = target.facts
  let cancel = (): void => {}
  const late = new Promise<'late'>(resolve => {
    const timer = clock.after(timeoutMs, () => resolve('late'), { keepAlive: true })
    cancel = () => timer.cancel()
  })
  try {
    const first = await Promise.race([promise, late])
    check(first !== 'late', `${what}: nothing within ${timeoutMs} ms`)
    return first as T
  } finally {
    cancel()
  }
}
