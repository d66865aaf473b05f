/** Retries: which outcomes, how many, after how long. */
import { describe, expect, it } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import type { RetryPolicy } from '../src/route/ir.ts'
import {
  type AttemptOutcome,
  backoffMs,
  defaultRetry,
  httpRouteRetry,
  noRetry,
  shouldRetry,
  virtualServiceRetry,
} from '../src/route/retry.ts'
import { compile, decide, get, httpRoute, seeded } from './route-fixtures.ts'

const answered = (status: number, headers: readonly (readonly [string, string])[] = []): AttemptOutcome => ({
  kind: 'response',
  status,
  headers: new HeaderFields(headers),
})
const on = (retryOn: string): RetryPolicy => virtualServiceRetry({ attempts: 3, retryOn })

describe('without a policy', () => {
  it('there are two retries', () => expect(virtualServiceRetry(undefined).attempts).toBe(2))

  it.each<[AttemptOutcome, boolean]>([
    [{ kind: 'connect-failure' }, true],
    [{ kind: 'refused-stream' }, true],
    [{ kind: 'reset', sent: true }, false],
    [{ kind: 'overflow' }, false],
    [answered(503), false],
    [answered(200, [['grpc-status', '14']]), true],
    [answered(200, [['grpc-status', '13']]), false],
    [answered(200), false],
  ])('%o: %s', (outcome, retried) => expect(shouldRetry(defaultRetry, outcome)).toBe(retried))
})

describe('retryOn', () => {
  it.each<[string, AttemptOutcome, boolean]>([
    ['5xx', answered(500), true],
    ['5xx', answered(499), false],
    ['5xx', { kind: 'reset', sent: true }, true],
    ['5xx', { kind: 'per-try-timeout' }, true],
    ['gateway-error', answered(503), true],
    ['gateway-error', answered(500), false],
    ['503', answered(503), true],
    ['503', answered(502), false],
    ['connect-failure,503', answered(503), true],
    ['reset-before-request', { kind: 'reset', sent: false }, true],
    ['reset-before-request', { kind: 'reset', sent: true }, false],
    ['retriable-4xx', answered(409), true],
    ['5xx', answered(503, [['x-envoy-overloaded', 'true']]), false],
    ['5xx', answered(503, [['x-envoy-ratelimited', 'true']]), false],
    ['5xx', { kind: 'overflow' }, false],
  ])('%s, %o: %s', (retryOn, outcome, retried) => expect(shouldRetry(on(retryOn), outcome)).toBe(retried))

  it('attempts of 0 are none', () => {
    expect(virtualServiceRetry({ attempts: 0, retryOn: '5xx' })).toBe(noRetry)
    expect(shouldRetry(noRetry, { kind: 'connect-failure' })).toBe(false)
  })
})

describe('backoff', () => {
  it('draws from windows of 25, 50, 100, 200 and 250 ms', () => {
    const longest = [1, 2, 3, 4, 5, 6].map(retry => backoffMs(defaultRetry, retry, () => 0.999_999))
    expect(longest).toEqual([24, 49, 99, 199, 249, 249])
  })

  it('is anywhere in its window', () => {
    const random = seeded(3)
    const draws = Array.from({ length: 1_000 }, () => backoffMs(defaultRetry, 1, random))
    expect(new Set(draws).size).toBe(25)
  })

  it('has a base that can be written', () => {
    expect(httpRouteRetry({ codes: [500], backoffMs: 100 }, undefined)).toMatchObject({
      attempts: 2,
      backoffBaseMs: 100,
      backoffMaxMs: 1_000,
    })
  })
})

describe('timeouts of an HTTPRoute', () => {
  const rule = (more: string): unknown => {
    const documents = httpRoute(`- { backendRefs: [{ name: reviews, port: 80 }], ${more} }`)
    const decision = decide(compile({ documents }), get('/'))
    if (decision.kind !== 'forward') throw new Error(decision.kind)
    return [decision.route.timeoutMs, decision.route.retry.perTryTimeoutMs]
  }

  it.each([
    ['timeouts: { request: 2s }', [2_000, undefined]],
    ['timeouts: { request: 0s }', [undefined, undefined]],
    ['timeouts: { request: 2s, backendRequest: 1s }', [1_000, undefined]],
    ['timeouts: { request: 2s, backendRequest: 1s }, retry: { codes: [503] }', [2_000, 1_000]],
    ['timeouts: { backendRequest: 1s }, retry: { attempts: 0 }', [1_000, undefined]],
  ])('%s', (more, expected) => expect(rule(more)).toEqual(expected))
})
