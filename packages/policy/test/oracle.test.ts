/** The index, the explanation and a naive evaluator that shares no code with them agree on random policies. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Connection, Decision } from '@ambient/core'
import {
  type Authorization,
  type AuthorizationMatch,
  type AuthorizationScope,
  createPolicySet,
  createPolicyStore,
  decide,
  explain,
  formatExplanation,
  type StringMatch,
} from '@ambient/policy'
import { connection, workload } from './fixtures.ts'

const NAMESPACES = ['a', 'b']
const ACCOUNTS = ['s', 't']
const ADDRESSES = ['10.0.0.1', '10.0.1.1', '2001:db8::1']
const BLOCKS = ['10.0.0.1/32', '10.0.0.0/23', '10.0.1.0/24', '2001:db8::/32', '0.0.0.0/0']
const PORTS = [80, 443]
const NAMES = ['p0', 'p1', 'p2', 'p3']

const few = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<readonly T[]> =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 2, arbitrary: fc.array(item, { minLength: 1, maxLength: 2 }) },
  )
const strings = (values: readonly string[]): fc.Arbitrary<readonly StringMatch[]> =>
  few(
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ kind: fc.constant<'exact'>('exact'), value: fc.constantFrom(...values) }),
      },
      fc.record({
        kind: fc.constantFrom<'prefix' | 'suffix'>('prefix', 'suffix'),
        value: fc.constantFrom(...values, 'td', 's', ''),
      }),
      fc.constant<StringMatch>({ kind: 'presence' }),
    ),
  )
const principals = strings(NAMESPACES.flatMap(ns => ACCOUNTS.map(sa => `td/ns/${ns}/sa/${sa}`)))
const accounts = few(
  fc.record({ namespace: fc.constantFrom(...NAMESPACES), serviceAccount: fc.constantFrom(...ACCOUNTS) }),
)
const blocks = few(fc.constantFrom(...BLOCKS))
const ports = few(fc.constantFrom(...PORTS))
const match: fc.Arbitrary<AuthorizationMatch> = fc.record({
  namespaces: strings(NAMESPACES),
  notNamespaces: strings(NAMESPACES),
  principals,
  notPrincipals: principals,
  serviceAccounts: accounts,
  notServiceAccounts: accounts,
  sourceIps: blocks,
  notSourceIps: blocks,
  destinationIps: blocks,
  notDestinationIps: blocks,
  destinationPorts: ports,
  notDestinationPorts: ports,
})
/** Mostly one attribute, so that something matches. */
const sparse = fc
  .tuple(
    match,
    fc.constantFrom<keyof AuthorizationMatch>(
      'namespaces',
      'principals',
      'serviceAccounts',
      'destinationPorts',
      'sourceIps',
      'notPrincipals',
    ),
  )
  .map(([full, keep]) => ({ ...emptied(full), [keep]: full[keep] }))
const anyMatch = fc.oneof({ weight: 3, arbitrary: sparse }, match)
const rule = fc.record({
  clauses: fc.array(fc.record({ matches: fc.array(anyMatch, { maxLength: 3 }) }), { maxLength: 3 }),
})
const SCOPES = ['Global', 'Namespace', 'WorkloadSelector'] as const
const authorizationNamed = (
  names: readonly string[],
  scopes: readonly AuthorizationScope[] = SCOPES,
): fc.Arbitrary<Authorization> =>
  fc.record({
    name: fc.constantFrom(...names),
    namespace: fc.constantFrom('shop', 'root'),
    scope: fc.constantFrom(...scopes),
    action: fc.constantFrom('Allow', 'Deny'),
    dryRun: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
    rules: fc.array(rule, { maxLength: 3 }),
  })
const set = fc.uniqueArray(authorizationNamed(NAMES), { maxLength: 6, selector: keyOf })
/** So many that rules share what they are found by, and a workload may name more than are walked. */
const MANY = Array.from({ length: 80 }, (_, index) => `p${index}`)
const mostlySelecting = [...SCOPES, ...Array.from({ length: 60 }, () => 'WorkloadSelector' as const)]
const many = fc.uniqueArray(authorizationNamed(MANY, mostlySelecting), {
  minLength: 40,
  maxLength: 90,
  selector: keyOf,
})
const targetOf = (names: readonly string[], mostNamed: number): fc.Arbitrary<Connection> =>
  fc
    .record({
      who: fc.option(fc.tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom(...ACCOUNTS))),
      from: fc.constantFrom(...ADDRESSES),
      to: fc.constantFrom(...ADDRESSES),
      port: fc.constantFrom(...PORTS),
      named: fc.uniqueArray(
        fc.tuple(fc.constantFrom('shop', 'root'), fc.constantFrom(...names)).map(parts => parts.join('/')),
        { minLength: Math.max(0, mostNamed - 20), maxLength: mostNamed },
      ),
      known: fc.oneof({ weight: 9, arbitrary: fc.constant(true) }, fc.constant(false)),
    })
    .map(({ who, from, to, port, named, known }) =>
      connection({
        principal: who === null ? null : `td/ns/${who[0]}/sa/${who[1]}`,
        from,
        to,
        port,
        workload: known ? workload({ authorizationPolicies: named }) : null,
      }),
    )

const target = targetOf(NAMES, 2)
const manyTargets = fc.array(targetOf(MANY, 140), { minLength: 3, maxLength: 6 })

describe('decide', () => {
  it('is what a naive evaluation says', () => {
    fc.assert(
      fc.property(set, target, (policies, to) => {
        const decision = decide(policies, to)
        expect(summary(decision)).toEqual(naive(policies, to))
      }),
      { numRuns: 3000 },
    )
  })
  it('is what a naive evaluation says of many policies, while they come and go', () => {
    fc.assert(
      fc.property(
        many,
        many,
        fc.infiniteStream(fc.nat({ max: 120 })),
        manyTargets,
        (first, later, luck, to) => {
          const store = createPolicyStore(first)
          const left = new Map(first.map(one => [keyOf(one), one]))
          const check = (): void => {
            for (const one of to)
              for (const named of [one, namingOnly(one, left)])
                expect(summary(decide(store.policies, named))).toEqual(naive([...left.values()], named))
          }
          check()
          for (const one of later) {
            const remove = [...left.keys()].filter((_, index) => index === luck.next().value)
            store.apply({ upsert: [one], remove })
            for (const key of remove) left.delete(key)
            left.set(keyOf(one), one)
          }
          check()
          store.apply({ upsert: [], remove: [...left.keys()] })
          left.clear()
          check()
        },
      ),
      { numRuns: 100 },
    )
  }, 60_000)
  it('is what explain says', () => {
    fc.assert(
      fc.property(
        set,
        target,
        fc.constantFrom<'deny' | 'skip'>('deny', 'skip'),
        (policies, to, unknownPolicy) => {
          const explanation = explain(policies, to, { unknownPolicy })
          expect(explanation.decision).toEqual(decide(policies, to, { unknownPolicy }))
          expect(formatExplanation(explanation)).toContain(explanation.decision.reason)
          for (const { matched, rules } of explanation.policies) {
            expect(matched).toBe(rules.some(one => one.matched))
            for (const one of rules) expect(one.failed === undefined).toBe(one.matched)
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
  it('does not depend on how the policies came', () => {
    fc.assert(
      fc.property(set, set, target, (first, second, to) => {
        const store = createPolicyStore(first)
        for (const one of second) store.apply({ upsert: [one], remove: [] })
        store.apply({ upsert: [], remove: first.slice(0, 2).map(keyOf) })
        const removed = new Set(first.slice(0, 2).map(keyOf))
        const left = new Map([...first, ...second].map(one => [keyOf(one), one]))
        for (const key of removed) left.delete(key)
        expect(decide(store.policies, to)).toEqual(decide(createPolicySet([...left.values()]), to))
        expect(store.list().map(keyOf)).toEqual([...left.keys()].sort())
      }),
      { numRuns: 1000 },
    )
  })
})

// The oracle: literal readings of the rules, one line each, with its own arithmetic.

function keyOf(policy: { readonly namespace: string; readonly name: string }): string {
  return `${policy.namespace}/${policy.name}`
}

/** The same to a workload that names no policy which is not there. */
function namingOnly(to: Connection, policies: ReadonlyMap<string, Authorization>): Connection {
  const { workload: destination } = to.destination
  if (destination === undefined) return to
  const authorizationPolicies = destination.authorizationPolicies.filter(key => policies.has(key))
  return { ...to, destination: { ...to.destination, workload: { ...destination, authorizationPolicies } } }
}

function emptied(of: AuthorizationMatch): AuthorizationMatch {
  return Object.fromEntries(Object.keys(of).map(key => [key, []])) as unknown as AuthorizationMatch
}

function summary(decision: Decision): readonly unknown[] {
  return [
    decision.allowed,
    decision.reason,
    decision.by?.policy,
    decision.by?.rule,
    decision.allowed ? [] : decision.considered,
  ]
}

function naive(policies: readonly Authorization[], to: Connection): readonly unknown[] {
  const { workload: destination } = to.destination
  const sorted = [...policies].sort((x, y) => (keyOf(x) < keyOf(y) ? -1 : 1))
  const applying = [
    ...sorted.filter(p => p.scope === 'Namespace' && p.namespace === destination?.namespace),
    ...sorted.filter(p => p.scope === 'Global'),
    ...(destination?.authorizationPolicies ?? []).flatMap(key => sorted.filter(p => keyOf(p) === key)),
  ].filter((p, i, all) => all.indexOf(p) === i && !p.dryRun)
  const first = (action: string): readonly [string, number] | undefined => {
    for (const p of applying)
      if (p.action === action)
        for (const [i, one] of p.rules.entries())
          if (one.clauses.every(c => c.matches.length === 0 || c.matches.some(m => holds(m, to))))
            return [keyOf(p), i]
    return undefined
  }
  const denied = first('Deny')
  if (denied) return [false, `explicitly denied by: ${denied[0]}`, ...denied, []]
  if (!destination && policies.some(p => p.scope !== 'Global'))
    return [false, 'workload not found', undefined, undefined, []]
  const missing = (destination?.authorizationPolicies ?? []).find(
    key => !policies.some(p => keyOf(p) === key),
  )
  if (missing) return [false, `policy ${missing} is referenced but not known`, missing, undefined, []]
  const allowed = first('Allow')
  if (allowed) return [true, `allowed by: ${allowed[0]}`, ...allowed, []]
  const allows = applying.filter(p => p.action === 'Allow').map(keyOf)
  if (allows.length === 0) return [true, 'no allow policies, allow', undefined, undefined, []]
  return [false, 'allow policies exist, but none allowed', undefined, undefined, allows]
}

function holds(m: AuthorizationMatch, to: Connection): boolean {
  const uri = to.source.identity?.uri
  const id = uri === undefined ? undefined : /^spiffe:\/\/(.*\/ns\/(.*)\/sa\/(.*))$/.exec(uri)
  const text = (list: readonly StringMatch[], value: string | undefined): boolean =>
    value !== undefined &&
    list.some(s =>
      s.kind === 'presence'
        ? value !== ''
        : s.kind === 'exact'
          ? value === s.value
          : s.kind === 'prefix'
            ? value.indexOf(s.value) === 0
            : value.slice(value.length - s.value.length) === s.value,
    )
  const inside = (list: readonly string[], address: string): boolean =>
    list.some(block => inBlock(block, address))
  const one = <T>(list: readonly T[], hit: boolean, negated: boolean): boolean =>
    list.length === 0 || hit !== negated
  return (
    Object.values(m).some(list => list.length > 0) &&
    one(m.namespaces, text(m.namespaces, id?.[2] ?? ''), false) &&
    one(m.notNamespaces, text(m.notNamespaces, id?.[2] ?? ''), true) &&
    one(m.principals, text(m.principals, id?.[1]), false) &&
    one(m.notPrincipals, text(m.notPrincipals, id?.[1]), true) &&
    one(
      m.serviceAccounts,
      m.serviceAccounts.some(a => a.namespace === id?.[2] && a.serviceAccount === id?.[3]),
      false,
    ) &&
    one(
      m.notServiceAccounts,
      m.notServiceAccounts.some(a => a.namespace === id?.[2] && a.serviceAccount === id?.[3]),
      true,
    ) &&
    one(m.sourceIps, inside(m.sourceIps, to.source.address), false) &&
    one(m.notSourceIps, inside(m.notSourceIps, to.source.address), true) &&
    one(m.destinationIps, inside(m.destinationIps, to.destination.address), false) &&
    one(m.notDestinationIps, inside(m.notDestinationIps, to.destination.address), true) &&
    one(m.destinationPorts, m.destinationPorts.includes(to.destination.port), false) &&
    one(m.notDestinationPorts, m.notDestinationPorts.includes(to.destination.port), true)
  )
}

/** Bits as text; of IPv6 only the one block and the one address that occur. */
function inBlock(block: string, address: string): boolean {
  if (block.includes(':') || address.includes(':'))
    return block.startsWith('2001:db8') && address.startsWith('2001:db8')
  const bits = (ip: string): string =>
    ip
      .split('.')
      .map(part => Number(part).toString(2).padStart(8, '0'))
      .join('')
  const [base, length] = block.split('/')
  return bits(base ?? '').slice(0, Number(length)) === bits(address).slice(0, Number(length))
}
