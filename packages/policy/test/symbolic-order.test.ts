/** A comparison knows that the same entry in another place may say something else. */
import { describe, expect, it } from 'vitest'
import { createEvaluator, diffPolicies, type PolicyRuleSpec } from '@ambient/policy'
import { compare, type Entry } from '../src/symbolic/compare.ts'
import { type Formula, Formulas } from '../src/symbolic/formula.ts'
import { document } from './fixtures.ts'

const open = document({ rules: [{}] }, { name: 'open' })
const closing = (...rules: readonly PolicyRuleSpec[]) =>
  document({ action: 'DENY', rules }, { name: 'closed' })
const some: PolicyRuleSpec = { from: [{ source: { notServiceAccounts: ['a/s'] } }] }

describe('a DENY of everything beside another one', () => {
  const before = { authorizationPolicies: [open, closing(some)] }
  const after = { authorizationPolicies: [open, closing(some, {})] }

  it.each(['ztunnel', 'envoy-tcp', 'envoy-http'] as const)('is a change: %s', dialect => {
    const request = {
      source: { principal: 'cluster.local/ns/a/sa/s' },
      destination: { namespace: open.metadata.namespace, port: 80 },
      http: { method: 'GET', authority: 'web', path: '/' },
    }
    const verdicts = [before, after].map(side => createEvaluator(side, { dialect }).decide(request).verdict)
    expect(verdicts).toEqual(['allow', 'deny'])
    const options = { dialects: [dialect], enforcers: ['workload' as const] }
    expect(diffPolicies(before, after, options)).toMatchObject({ result: 'changed', undecided: [] })
  })
})

describe('lists of few entries', () => {
  it('are called equal only where they are, by brute force', () => {
    const formulas = new Formulas()
    const atoms = ['1', '2'].map(port => formulas.atom('port', 'port', [port]))
    const last = (outcome: string): Entry<undefined> => entryOf(formulas.always, outcome)
    const entries = [...atoms, formulas.or(atoms)].flatMap(formula => [
      entryOf(formula, 'allow'),
      entryOf(formula, 'deny'),
    ])
    const lists = entries.flatMap(one => [
      [one, last('allow')],
      ...entries.flatMap(two => [
        [one, two, last('allow')],
        [one, two, last('deny')],
      ]),
    ])
    const outcomeAt = (list: readonly Entry<undefined>[], port: string): string | undefined => {
      const takes = ({ kind, atoms: asked }: Formula): boolean =>
        kind === 'constant' || asked.some(({ values }) => values.includes(port))
      return list.find(({ formula }) => takes(formula))?.outcome
    }
    const options = { formulas, pathNormalization: 'BASE' as const, maxSteps: 1e6, maxRegions: 100 }
    for (const before of lists)
      for (const after of lists) {
        const same = ['1', '2', '3'].every(port => outcomeAt(before, port) === outcomeAt(after, port))
        const found = compare(before, after, { ...options, possible: () => true })
        expect({ before, after, same: found.regions.length === 0 }).toEqual({ before, after, same })
      }
  })
})

function entryOf(formula: Formula, outcome: string): Entry<undefined> {
  return { formula, outcome, label: undefined, name: '' }
}
