/** Stream states (RFC 9113 §5.1) against a model of one page: random frames of a client on few streams, random users. */
import { afterAll, describe } from 'vitest'
import type { Channel } from '@ambient/core'
import { encodeHeaders } from '../src/http2/hpack.ts'
import { property, type Random } from './property.ts'
import { CONNECT, frame, TYPE, uint32 } from './raw-peer.ts'
import { end, type End, PREFACE_AND_SETTINGS, readFrames, turn } from './session-pair.ts'

/** `skipped`: a lower id than one that was used. `reset`: by us, so what comes was on its way. */
type State = 'idle' | 'open' | 'remote-ended' | 'local-ended' | 'ended' | 'reset' | 'skipped'

/** What a session does with a frame: the code of its GOAWAY, or which streams it resets. */
class Model {
  readonly states = new Map<number, State>()
  readonly resets: string[] = []
  /** For messages. */
  readonly history: string[] = []
  /** Set once: the session is over. */
  goaway: string | undefined
  #highest = 0

  at(id: number): State {
    const known = this.states.get(id)
    if (known !== undefined) return known
    return id % 2 === 1 && id < this.#highest ? 'skipped' : 'idle'
  }

  isLive(id: number): boolean {
    return ['open', 'remote-ended', 'local-ended'].includes(this.at(id))
  }

  headers(id: number, isEnd: boolean): void {
    const state = this.at(id)
    if (id % 2 === 0) this.goaway = 'PROTOCOL_ERROR'
    else if (state === 'idle') {
      this.#highest = id
      this.states.set(id, isEnd ? 'remote-ended' : 'open')
    } else if (state === 'open' || state === 'local-ended') {
      if (isEnd) this.remoteEnd(id)
      else this.abort(id, 'PROTOCOL_ERROR')
    } else this.#late(state)
  }

  data(id: number, isEnd: boolean): void {
    const state = this.at(id)
    if (id === 0 || state === 'idle') this.goaway = 'PROTOCOL_ERROR'
    else if (state === 'open' || state === 'local-ended') {
      if (isEnd) this.remoteEnd(id)
    } else this.#late(state)
  }

  reset(id: number): void {
    if (id === 0 || this.at(id) === 'idle') this.goaway = 'PROTOCOL_ERROR'
    else this.states.set(id, 'ended')
  }

  update(id: number, increment: number): void {
    if (id === 0) {
      if (increment === 0) this.goaway = 'PROTOCOL_ERROR'
    } else if (this.at(id) === 'idle') this.goaway = 'PROTOCOL_ERROR'
    else if (increment > 0) return
    else if (this.isLive(id)) this.abort(id, 'PROTOCOL_ERROR')
    else this.resets.push(`${id} PROTOCOL_ERROR`)
  }

  priority(id: number, onItself: boolean): void {
    if (id === 0) this.goaway = 'PROTOCOL_ERROR'
    else if (!onItself) return
    else if (this.isLive(id)) this.abort(id, 'PROTOCOL_ERROR')
    else this.goaway = 'PROTOCOL_ERROR'
  }

  remoteEnd(id: number): void {
    this.states.set(id, this.at(id) === 'local-ended' ? 'ended' : 'remote-ended')
  }

  localEnd(id: number): void {
    if (!this.isLive(id) || this.at(id) === 'local-ended') return
    this.states.set(id, this.at(id) === 'remote-ended' ? 'ended' : 'local-ended')
  }

  /** By us: for what the peer did, or because the user wants it. */
  abort(id: number, code: string): void {
    if (!this.isLive(id)) return
    this.resets.push(`${id} ${code}`)
    this.states.set(id, this.at(id) === 'remote-ended' ? 'ended' : 'reset')
  }

  #late(state: State): void {
    if (state === 'remote-ended' || state === 'ended') this.goaway = 'STREAM_CLOSED'
    else if (state === 'skipped') this.goaway = 'PROTOCOL_ERROR'
  }
}

const CODES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  '',
  'STREAM_CLOSED',
  '',
  '',
  'CANCEL',
]
const HEAD = encodeHeaders(CONNECT)
const TRAILERS = encodeHeaders([['checksum', 'none']])
const nobody = { data: () => true, end() {}, drained() {}, finished() {}, reset() {} }
const reached = new Map<string, number>()

/** One frame of the client, to both. */
function sendFrame(random: Random, session: End, model: Model): void {
  const id = random.pick([1, 1, 3, 3, 5, 7, 2, 0])
  const isEnd = random.chance(0.3)
  const kind = random.pick(['headers', 'headers', 'data', 'data', 'reset', 'update', 'priority'] as const)
  // What ends every session at once would leave nothing to see.
  if ((id === 0 || id % 2 === 0) && random.chance(0.9)) return
  if (kind !== 'headers' && model.at(id) === 'idle' && random.chance(0.9)) return
  reached.set(`${kind} ${model.at(id)}`, (reached.get(`${kind} ${model.at(id)}`) ?? 0) + 1)
  model.history.push(`${kind} ${id}${isEnd ? ' end' : ''} (${model.at(id)})`)
  const give = (bytes: Buffer): void => session.transport.give(bytes)
  if (kind === 'headers') {
    const block = model.at(id) === 'idle' ? HEAD : TRAILERS
    model.headers(id, isEnd)
    give(frame(TYPE.headers, isEnd ? 5 : 4, id, block))
  } else if (kind === 'data') {
    model.data(id, isEnd)
    give(frame(TYPE.data, isEnd ? 1 : 0, id, random.chance(0.2) ? '' : 'some'))
  } else if (kind === 'reset') {
    model.reset(id)
    give(frame(TYPE.reset, 0, id, uint32(random.int(0, 20))))
  } else if (kind === 'update') {
    const increment = random.int(0, 1)
    model.update(id, increment)
    give(frame(TYPE.update, 0, id, uint32(increment)))
  } else {
    const onItself = random.chance(0.3)
    model.priority(id, onItself)
    give(frame(TYPE.priority, 0, id, Buffer.concat([uint32(onItself ? id : 11), Buffer.of(1)])))
  }
}

function actLocally(random: Random, channels: ReadonlyMap<number, Channel>, model: Model): void {
  const [id, channel] = random.pick([...channels])
  const act = random.pick(['end', 'reset', 'write', 'pause', 'resume'] as const)
  model.history.push(`user: ${act} ${id}`)
  if (act === 'end') {
    model.localEnd(id)
    channel.end()
  } else if (act === 'reset') {
    model.abort(id, 'CANCEL')
    channel.reset('CANCEL', 'enough')
  } else if (act === 'write') channel.write(Buffer.from('answer'))
  else channel[act]()
}

function compare(session: End, model: Model, sent: Buffer): void {
  const { connection, over } = session
  const goaway = over?.error?.h2Code
  if (goaway !== model.goaway)
    throw new Error(`the session ended with ${goaway}, not with ${model.goaway}: ${model.history.join(', ')}`)
  if (model.goaway !== undefined) return
  for (const id of [1, 3, 5, 7])
    if (connection.streams.has(id) !== model.isLive(id))
      throw new Error(
        `stream ${id} is ${model.at(id)}, but is ${connection.streams.has(id) ? '' : 'not '}here: ${model.history.join(', ')}`,
      )
  const resets = readFrames(sent)
    .filter(({ type }) => type === TYPE.reset)
    .map(({ id, payload }) => `${id} ${CODES[payload.readUInt32BE(0)]}`)
  if (resets.join() !== model.resets.join())
    throw new Error(`resets were ${resets.join()}, not ${model.resets.join()}: ${model.history.join(', ')}`)
}

describe('streams', () => {
  afterAll(() => {
    // Whatever the frame, it was seen in whatever state: a model that is never asked proves nothing.
    for (const kind of ['headers', 'data', 'reset', 'update', 'priority'])
      for (const state of ['idle', 'open', 'remote-ended', 'local-ended', 'ended', 'reset', 'skipped'])
        if (process.env.AMBIENT_SEED === undefined && !reached.has(`${kind} ${state}`))
          throw new Error(`no ${kind} in the state ${state}`)
  })

  property('are in the states of RFC 9113, whatever client and user do', 30_000, async random => {
    const written: Buffer[] = []
    const model = new Model()
    const channels = new Map<number, Channel>()
    const take = (bytes: Buffer, done: () => void): void => {
      written.push(bytes)
      done()
    }
    const session = end('server', take, {
      onRequest: (stream, head) => {
        if (head.kind !== 'connect') return
        stream.sendHeaders([[':status', '200']])
        stream.start(nobody)
        channels.set(stream.id, stream)
      },
    })
    session.transport.give(PREFACE_AND_SETTINGS)
    await turn()
    for (let steps = random.int(1, 16); steps > 0 && model.goaway === undefined; steps--) {
      if (channels.size > 0 && random.chance(0.35)) actLocally(random, channels, model)
      else sendFrame(random, session, model)
      // Users hear of things, and answer, at the end of a turn.
      if (random.chance(0.3)) await turn()
    }
    await turn()
    compare(session, model, Buffer.concat(written))
    session.transport.destroy()
  })
})
