/** Much output, and a reader that takes its time. */
import { PassThrough, Writable } from 'node:stream'
import { expect, it } from 'vitest'
import type { CliHost } from '../src/host.ts'
import { writeAll } from '../src/write-all.ts'
import { testHost } from './host.ts'

/** As the process has it: both ends are one. */
function hostOf(output: Writable): CliHost {
  return { ...testHost().host, output, stdout: text => void output.write(text) }
}

function* counted(total: number, made: { count: number }): Generator<string> {
  for (; made.count < total; made.count++) yield `${made.count}\n`.padStart(1_024)
}

it('makes no more than the reader takes', async () => {
  const output = new PassThrough({ highWaterMark: 4_096 })
  const made = { count: 0 }
  const done = writeAll(counted(1_000, made), hostOf(output))
  let most = 0
  let read = 0
  const reading = (async () => {
    for await (const chunk of output) {
      most = Math.max(most, made.count * 1_024 - read)
      read += chunk.length
    }
  })()
  await done
  output.end()
  await reading
  expect(read).toBe(1_000 * 1_024)
  expect(most).toBeLessThan(16 * 1_024)
})

it.each([
  ['the reader closes', undefined],
  ['a pipe has no reader', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })],
])('ends without a word when %s', async (_name, error) => {
  const output = new PassThrough({ highWaterMark: 1_024 })
  output.on('error', () => {})
  const made = { count: 0 }
  const done = writeAll(counted(1_000, made), hostOf(output))
  output.destroy(error)
  await done
  expect(made.count).toBeLessThan(10)
})

it('tells of an output that fails', async () => {
  const output = new Writable({
    highWaterMark: 1_024,
    write: (_chunk, _encoding, done) => done(Object.assign(new Error('disk full'), { code: 'ENOSPC' })),
  })
  output.on('error', () => {})
  await expect(writeAll(counted(1_000, { count: 0 }), hostOf(output))).rejects.toThrow('disk full')
})

it('leaves nothing behind at the output', async () => {
  const output = new PassThrough({ highWaterMark: 1_024 })
  output.resume()
  const before = output.eventNames().map(name => [name, output.listenerCount(name)])
  await writeAll(counted(100, { count: 0 }), hostOf(output))
  expect(output.eventNames().map(name => [name, output.listenerCount(name)])).toEqual(before)
  output.destroy()
})
