/** Who decides first: CUSTOM, AUDIT, DENY, ALLOW, and what the shapes of a policy mean. */
import type { PolicyDialect } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { ask, decide, documents, policy, short, sidecar } from './evaluator-fixtures.ts'

const ALL: readonly PolicyDialect[] = ['ztunnel', 'envoy-tcp', 'envoy-http']
const ENVOY: readonly PolicyDialect[] = ['envoy-tcp', 'envoy-http']

const allowAll = policy('shop/allow', 'rules: [{}]')
const denyAll = policy('shop/deny', 'action: DENY\nrules: [{}]')
const nothing = policy('shop/nothing', '')
const audit = policy('shop/audit', 'action: AUDIT\nrules: [{}]')
const custom = policy('shop/custom', 'action: CUSTOM\nprovider: {name: opa}\nrules: [{}]')
const other = policy('shop/other', 'action: CUSTOM\nprovider: {name: other}\nrules: [{}]')

describe.each(ALL)('in the dialect %s', dialect => {
  it.each([
    ['no policy', [], 'allow default - -'],
    ['an ALLOW of everything', [allowAll], 'allow ALLOW shop/allow 0'],
    ['an ALLOW without rules', [nothing], 'deny ALLOW - -'],
    ['a DENY of everything', [denyAll], 'deny DENY shop/deny 0'],
    ['DENY beside ALLOW', [allowAll, denyAll], 'deny DENY shop/deny 0'],
    ['one ALLOW of several', [nothing, allowAll], 'allow ALLOW shop/allow 0'],
    ['AUDIT alone', [audit], 'allow default - -'],
    ['AUDIT beside ALLOW', [audit, allowAll], 'allow ALLOW shop/allow 0'],
  ] as const)('%s', (_, texts, wanted) => {
    const verdict = decide(documents(...texts), { dialect }, ask(), sidecar)
    expect(short(verdict)).toBe(wanted)
    expect(verdict.dialect).toBe(dialect)
  })
})

describe.each(ENVOY)('CUSTOM in the dialect %s', dialect => {
  it.each([
    ['is asked before DENY', [custom, denyAll], undefined, 'deny CUSTOM shop/custom 0'],
    ['denies unless its provider is taken to allow', [custom], undefined, 'deny CUSTOM shop/custom 0'],
    ['goes on when it is', [custom], 'allow', 'allow default - -'],
    ['goes on to DENY', [custom, denyAll], 'allow', 'deny DENY shop/deny 0'],
    ['goes on to ALLOW', [custom, allowAll], 'allow', 'allow ALLOW shop/allow 0'],
    ['denies with two providers, whatever they say', [custom, other], 'allow', 'deny CUSTOM shop/custom 0'],
  ] as const)('%s', (_, texts, answer, wanted) => {
    const options = { dialect, ...(answer === undefined ? {} : { custom: answer }) }
    expect(short(decide(documents(...texts), options, ask(), sidecar))).toBe(wanted)
  })
})
