/**
 * Envoy and our evaluator over the same generated policies, requests and connections: the same verdict, by the same rule, with
 * the same path, audit mark and dry-run findings. The policies reach Envoy through a translation of its own (`rbac.ts`), as
 * istiod makes it. Needs an Envoy binary: ENVOY=path/to/envoy.
 */
import { describe, expect, it } from 'vitest'
import { noEnvoy } from '../hbone-envoy.ts'
import { type Compared, compare, SEED, SETS } from './differential.ts'

function check({ count, verdicts, differences }: Compared, what: string): void {
  const counts = [...verdicts].map(([status, times]) => `${times} × ${status}`).join(', ')
  console.log(`seed ${SEED}: ${count} ${what} under ${SETS} sets of policies: ${counts}`)
  const [simplest] = [...differences].sort((a, b) => sizeOf(a.set) - sizeOf(b.set))
  expect(differences.length, JSON.stringify(simplest)).toBe(0)
  // Each answer has to occur, or little was compared.
  for (const times of verdicts.values()) expect(times).toBeGreaterThan(count / 50)
  expect(verdicts.size).toBeGreaterThan(1)
}

function sizeOf(value: unknown): number {
  return JSON.stringify(value).length
}

describe.skipIf(noEnvoy !== '')(`Envoy and our evaluator${noEnvoy}`, () => {
  it('say the same of generated requests', { timeout: 1_200_000 }, async () => {
    check(await compare(false), 'requests')
  })

  it('say the same of generated connections', { timeout: 1_200_000 }, async () => {
    check(await compare(true), 'connections')
  })
})
