/** What the fuzzer does to good bytes: to any bit of them, and to frames as frames. */
import type { Random } from './property.ts'
import { frame } from './raw-peer.ts'
import { readFrames } from './session-pair.ts'

const PREFACE_START = Buffer.from('PRI * HTTP/2.0', 'latin1')
const PREFACE_BYTES = 24
/** Longer inputs say nothing new and take time. */
const MAX_BYTES = 200_000

interface Piece {
  type: number
  flags: number
  id: number
  payload: Buffer
}

export function mutate(random: Random, seed: Buffer, others: readonly Buffer[]): Buffer {
  let bytes = seed
  for (let times = random.int(1, 5); times > 0; times--)
    bytes = random.chance(0.65) ? mutateFrames(random, bytes, others) : mutateBytes(random, bytes, others)
  return bytes.subarray(0, MAX_BYTES)
}

function mutateBytes(random: Random, bytes: Buffer, others: readonly Buffer[]): Buffer {
  const copy = Buffer.from(bytes)
  const at = random.int(0, Math.max(0, copy.length - 1))
  const to = Math.min(copy.length, at + random.int(1, 40))
  switch (random.int(0, 6)) {
    case 0:
      if (copy.length > 0) copy[at] = (copy[at] ?? 0) ^ (1 << random.int(0, 7))
      return copy
    case 1:
      if (copy.length > 0) copy[at] = random.pick([0, 1, 0x7f, 0x80, 0xff])
      return copy
    case 2:
      return copy.subarray(0, at)
    case 3:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(to)])
    case 4:
      return Buffer.concat([copy.subarray(0, to), copy.subarray(at)])
    case 5:
      return Buffer.concat([copy.subarray(0, at), random.bytes(random.int(1, 20)), copy.subarray(at)])
    default: {
      const other = random.pick(others)
      return Buffer.concat([copy.subarray(0, at), other.subarray(random.int(0, other.length))])
    }
  }
}

function mutateFrames(random: Random, bytes: Buffer, others: readonly Buffer[]): Buffer {
  const { start, frames } = takeApart(bytes)
  if (frames.length === 0) return mutateBytes(random, bytes, others)
  const at = random.int(0, frames.length - 1)
  const one = frames[at]
  if (one === undefined) return bytes
  switch (random.int(0, 8)) {
    case 0:
      frames.splice(at, 1)
      break
    case 1:
      // Some floods need to be long.
      frames.splice(at, 0, ...Array.from({ length: random.pick([1, 2, 300]) }, () => one))
      break
    case 2:
      frames.splice(random.int(0, frames.length), 0, ...frames.splice(at, 1))
      break
    case 3:
      frames.splice(at, 0, random.pick(takeApart(random.pick(others)).frames) ?? one)
      break
    case 4:
      one.type = random.int(0, 11)
      break
    case 5:
      one.flags = random.chance(0.5) ? one.flags ^ (1 << random.int(0, 7)) : random.int(0, 255)
      break
    case 6:
      one.id = random.pick([0, 1, 2, 3, 5, 7, one.id + 2, 0x3fff_ffff, 0x7fff_ffff])
      break
    case 7:
      one.payload = mutateBytes(random, one.payload, others)
      break
    default:
      one.payload = random.chance(0.5)
        ? Buffer.concat([one.payload, random.bytes(random.int(1, 20))])
        : Buffer.alloc(random.pick([0, 1, 4, 5, 8, 16_384, 16_385]), random.int(0, 255))
  }
  return Buffer.concat([
    start,
    ...frames.map(({ type, flags, id, payload }) => frame(type, flags, id, payload)),
  ])
}

/** Frames that end within the bytes; a preface stays in front. */
function takeApart(bytes: Buffer): { readonly start: Buffer; readonly frames: Piece[] } {
  const start = bytes.indexOf(PREFACE_START) === 0 ? bytes.subarray(0, PREFACE_BYTES) : Buffer.alloc(0)
  const frames = readFrames(bytes.subarray(start.length)).map(entry => ({ ...entry }))
  return { start, frames }
}
