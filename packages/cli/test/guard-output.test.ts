/** Standard output that fails, for each of the reasons that it may have. */
import { finished } from 'node:stream/promises'
import { Duplex, PassThrough } from 'node:stream'
import { expect, it } from 'vitest'
import { duplexChannel } from '@ambient/core/node'
import { guardOutput } from '../src/guard-output.ts'

async function heardOf(fail: (output: PassThrough) => void): Promise<readonly string[]> {
  const heard: string[] = []
  const output = new PassThrough()
  guardOutput(output, {
    gone: () => void heard.push('gone'),
    failed: error => void heard.push(error.message),
  })
  fail(output)
  await finished(output).catch(() => {})
  return heard
}

it('a reader that has gone is no failure', async () => {
  const error = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })
  expect(await heardOf(output => output.destroy(error))).toEqual(['gone'])
})

it('a full disk is one', async () => {
  const error = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  expect(await heardOf(output => output.destroy(error))).toEqual([error.message])
})

it('a tunnel that was reset is for its command to tell', async () => {
  const reset = (output: PassThrough): void => {
    const channel = duplexChannel(Duplex.from({ readable: new PassThrough(), writable: output }))
    channel.reset('INTERNAL_ERROR', 'interrupted')
  }
  expect(await heardOf(reset)).toEqual([])
})
