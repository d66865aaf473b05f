import { status } from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { limits } from '../src/limits.ts'
import { jittered, nextBackoff, type StreamEnding, terminationReason } from '../src/xds/backoff.ts'

const ending = (code: status, over: Partial<StreamEnding> = {}): StreamEnding => ({
  code,
  details: '',
  answered: false,
  ...over,
})

describe('the delay before a reconnect', () => {
  it('doubles from 10 ms to 15 s while nobody answers', () => {
    const delays: number[] = []
    let delay: number = limits.reconnectMinMs
    for (let attempt = 0; attempt < 13; attempt++) {
      delay = nextBackoff(delay, ending(status.UNAVAILABLE))
      delays.push(delay)
    }
    expect(delays).toEqual([20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10_240, 15_000, 15_000, 15_000])
  })

  it.each<[string, StreamEnding, number, string]>([
    ['a clean end', ending(status.OK, { answered: true }), 10, 'Complete'],
    ['a cancelled stream', ending(status.CANCELLED, { answered: true }), 10, 'Reconnect'],
    [
      'a server that goes away',
      ending(status.UNAVAILABLE, { answered: true, details: 'received prior goaway' }),
      10,
      'Reconnect',
    ],
    ['a failure after answers', ending(status.INTERNAL, { answered: true }), 20, 'Error'],
    ['a refusal', ending(status.UNAUTHENTICATED), 2000, 'Error'],
    ['a clean end before any answer, so that it cannot spin', ending(status.OK), 2000, 'Complete'],
    ['no connection', ending(status.UNAVAILABLE), 2000, 'ConnectionError'],
  ])('after %s', (_, how, delay, reason) => {
    expect(nextBackoff(1000, how)).toBe(delay)
    expect(terminationReason(how)).toBe(reason)
  })

  it('is spread over the whole bound', () => {
    expect([0, 0.5, 1].map(random => jittered(100, () => random))).toEqual([0, 50, 100])
  })
})
