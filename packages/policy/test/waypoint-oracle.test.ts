/** Decision, explanation and a naive evaluator that shares no code with them agree on random policies and requests. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicy,
  formatWaypointExplanation,
  type HttpRequestFacts,
  type PolicyCondition,
  type PolicyRuleSpec,
  type PolicyTargetReference,
  type WaypointDecision,
  type WaypointTarget,
} from '@ambient/policy'
import { call, http, keyOf, manyPolicies, options, place, policies } from './waypoint-arbitraries.ts'
import { waypoint } from './waypoint-fixtures.ts'

describe('a waypoint', () => {
  it('decides as a naive evaluation does', () => {
    fc.assert(
      fc.property(policies, place, call, http, (all, to, what, isHttp) => {
        const set = waypoint(all, options)
        const decision = isHttp ? set.decideRequest(to, what) : set.decideConnection(to, what.connection)
        expect(summary(decision)).toEqual(naive(all, to, what, isHttp))
      }),
      { numRuns: 5000 },
    )
  })

  it('decides as a naive evaluation does while many policies come and go', () => {
    fc.assert(
      fc.property(
        manyPolicies,
        manyPolicies,
        fc.array(fc.tuple(place, call, http), { minLength: 4, maxLength: 8 }),
        fc.infiniteStream(fc.nat({ max: 50 })),
        (first, later, calls, luck) => {
          const set = waypoint([], options)
          const left = new Map<string, AuthorizationPolicy>()
          const check = (): void => {
            for (const [to, what, isHttp] of calls) {
              const decision = isHttp
                ? set.decideRequest(to, what)
                : set.decideConnection(to, what.connection)
              expect(summary(decision)).toEqual(naive([...left.values()], to, what, isHttp))
            }
          }
          set.replace(first)
          for (const one of first) left.set(keyOf(one), one)
          check()
          for (const one of later) {
            const remove = [...left.keys()].filter((_, index) => index === luck.next().value)
            set.apply({ upsert: [one], remove })
            for (const key of remove) left.delete(key)
            left.set(keyOf(one), one)
          }
          check()
          const half = [...left.values()].slice(0, left.size / 2)
          set.replace(half)
          left.clear()
          for (const one of half) left.set(keyOf(one), one)
          check()
          set.replace([])
          left.clear()
          check()
        },
      ),
      { numRuns: 150 },
    )
  }, 60_000)

  it('explains what it decides', () => {
    fc.assert(
      fc.property(policies, place, call, http, (all, to, what, isHttp) => {
        const set = waypoint(all, options)
        const decision = isHttp ? set.decideRequest(to, what) : set.decideConnection(to, what.connection)
        const explanation = isHttp ? set.explainRequest(to, what) : set.explainConnection(to, what.connection)
        expect({
          ...explanation.decision,
          audited: [...(explanation.decision.audited ?? [])].sort(),
        }).toEqual({
          ...decision,
          audited: [...(decision.audited ?? [])].sort(),
        })
        expect(formatWaypointExplanation(explanation)).toContain(decision.reason)
        for (const { matched, rules } of explanation.policies) {
          expect(matched).toBe(rules.some(one => one.matched))
          for (const one of rules)
            expect(one.matched).toBe(one.failed === undefined && one.skipped === undefined)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

// The oracle: istiod's regular expressions and plain readings of the rules.

function summary(decision: WaypointDecision): readonly unknown[] {
  const { allowed, detail, by, considered, audited, dryRun } = decision
  const shadow = (dryRun ?? []).map(one => [one.action, one.result, one.by?.policy, one.by?.rule])
  return [allowed, detail, by?.policy, by?.rule, considered, [...(audited ?? [])].sort(), shadow]
}

interface Hit {
  readonly id: string
  readonly policy: string
  readonly rule: number
}

function naive(
  all: readonly AuthorizationPolicy[],
  to: WaypointTarget,
  what: HttpRequestFacts,
  isHttp: boolean,
): readonly unknown[] {
  // A connection without HTTP has an address, and nobody who says another.
  const { remoteAddress: _, ...bare } = what
  const seen = isHttp ? what : bare
  const attached = all.filter(p => (p.spec.targetRefs ?? []).some(ref => attaches(p, ref, to)))
  const lane = (action: string, dry: boolean): readonly AuthorizationPolicy[] =>
    attached.filter(
      p => p.spec.action === action && (p.metadata.annotations['istio.io/dry-run'] === 'true') === dry,
    )
  const hits = (action: string, dry: boolean): readonly Hit[] =>
    lane(action, dry)
      .flatMap(p =>
        (p.spec.rules ?? []).flatMap((one, index) => {
          const id = `ns[${p.metadata.namespace}]-policy[${p.metadata.name}]-rule[${index}]`
          return holds(one, p, seen, isHttp) ? [{ id, policy: keyOf(p), rule: index }] : []
        }),
      )
      .sort((x, y) => (x.id < y.id ? -1 : 1))
  const [custom] = hits('CUSTOM', false)
  const [deny] = hits('DENY', false)
  const [allow] = hits('ALLOW', false)
  const audited = custom ? [] : [...new Set(hits('AUDIT', false).map(hit => hit.policy))].sort()
  const dry = (action: string, hit: string, miss: string | undefined): readonly (readonly unknown[])[] => {
    if (lane(action, true).length === 0) return []
    const [first] = hits(action, true)
    if (first) return [[action, hit, first.policy, first.rule]]
    return miss === undefined ? [] : [[action, miss, undefined, undefined]]
  }
  const rest = [
    audited,
    [
      ...dry('CUSTOM', 'denied', undefined),
      ...dry('DENY', 'denied', 'allowed'),
      ...dry('ALLOW', 'allowed', 'denied'),
    ],
  ]
  const detail = (id: string): string => `rbac_access_denied_matched_policy[${id}]`
  if (custom) {
    const id = `istio-ext-authz-ext-${custom.id}-deny-due-to-bad-CUSTOM-action`
    return [false, detail(id), custom.policy, custom.rule, [], ...rest]
  }
  if (deny) return [false, detail(deny.id), deny.policy, deny.rule, [], ...rest]
  if (allow) return [true, '', allow.policy, allow.rule, [], ...rest]
  const allows = lane('ALLOW', false).map(keyOf).sort()
  if (allows.length === 0) return [true, '', undefined, undefined, [], ...rest]
  return [false, detail('none'), undefined, undefined, allows, ...rest]
}

function attaches(p: AuthorizationPolicy, ref: PolicyTargetReference, to: WaypointTarget): boolean {
  const ns = p.metadata.namespace
  if (ref.kind === 'Service') return to.service?.name === ref.name && ns === to.service.namespace
  if (ref.kind === 'Gateway') return ns === to.gateway.namespace && ref.name === to.gateway.name
  return ns === 'root' && to.gateway.className === 'istio-waypoint'
}

const HTTP_FIELD = /^(not)?(requestPrincipals|methods|hosts|paths)$/i
const HTTP_KEY = /^request\./

function holds(
  one: PolicyRuleSpec,
  p: AuthorizationPolicy,
  what: HttpRequestFacts,
  isHttp: boolean,
): boolean {
  const { from = [], to = [], when = [] } = one
  if (when.some(({ key }) => key === 'no.such.key')) return false
  const parts = [...from.map(part => part.source), ...to.map(part => part.operation)]
  const needsHttp =
    parts.some(part => Object.keys(part).some(field => HTTP_FIELD.test(field))) ||
    when.some(({ key }) => HTTP_KEY.test(key))
  if (!isHttp && needsHttp && p.spec.action === 'ALLOW') return false
  const part = (fields: object): boolean =>
    Object.entries(fields).every(([field, list]: [string, readonly string[]]) => {
      if (!isHttp && HTTP_FIELD.test(field)) return true
      const negated = /^not[A-Z]/.test(field)
      const name = negated ? field.charAt(3).toLowerCase() + field.slice(4) : field
      return list.some(value => matchesField(name, value, what, p)) !== negated
    })
  const key = ({ key: name, values: yes, notValues: no }: PolicyCondition): boolean => {
    if (!isHttp && HTTP_KEY.test(name)) return true
    const any = (list: readonly string[]): boolean => list.some(value => matchesField(name, value, what, p))
    return (yes === undefined || any(yes)) && (no === undefined || !any(no))
  }
  return (
    (from.length === 0 || from.some(({ source: fields }) => part(fields))) &&
    (to.length === 0 || to.some(({ operation: fields }) => part(fields))) &&
    when.every(key)
  )
}

function matchesField(field: string, value: string, what: HttpRequestFacts, p: AuthorizationPolicy): boolean {
  const { source: from, destination } = what.connection
  const uri = from.identity?.uri
  const full = (pattern: string, text: string | undefined, flags = 's'): boolean =>
    text !== undefined && new RegExp(`^(?:${pattern})$`, flags).test(text)
  switch (field) {
    case 'principals':
    case 'source.principal':
      return sameMesh(value).some(each => full(`spiffe://${starred(each, '.+')}`, uri))
    case 'trustDomains': {
      const members = value === 'td1' ? ['td1', 'old-td'] : [value]
      return members.some(each =>
        full(`spiffe://${starred(each, '[^/]+').replaceAll('.*', '[^/]*')}/.*`, uri),
      )
    }
    case 'namespaces':
    case 'source.namespace':
      return full(`.*/ns/${value.replaceAll('*', '.*')}/.*`, uri)
    case 'serviceAccounts': {
      const [namespace, account] = value.includes('/') ? value.split('/') : [p.metadata.namespace, value]
      return full(`spiffe://.+/ns/${namespace}/(.+/|)sa/${account}(/.+)?`, uri)
    }
    case 'requestPrincipals': {
      const { iss, sub } = what.jwt?.payload ?? {}
      if (value === '*') return iss !== undefined
      return full(value.replace('*', '.+'), iss === undefined ? undefined : `${iss}/${sub}`)
    }
    case 'remoteIpBlocks':
      return inBlock(value, what.remoteAddress ?? from.address)
    case 'ipBlocks':
    case 'source.ip':
      return inBlock(value, from.address)
    case 'ports':
    case 'destination.port':
      return String(destination.port) === value
    case 'methods':
      return full(starred(value, '.+'), what.method)
    case 'hosts':
      return full(starred(value, '.*'), what.authority, 'is')
    case 'request.headers[Host]':
      return full(starred(value, '.*'), what.authority)
    case 'request.headers[x-h]':
      return what.header('x-h').some(each => full(starred(value, '.*'), each))
    case 'paths': {
      const path = what.path.split('?')[0]
      if (!value.includes('{')) return full(starred(value, '.+'), path)
      const char = "[A-Za-z0-9\\-._~%!$&'()*+,;:@="
      return full(value.replace('{**}', `${char}/]*`).replaceAll('{*}', `${char}]+`), path)
    }
    default:
      return false
  }
}

/** td1 and old-td are one mesh, and `cluster.local` is its name. */
function sameMesh(value: string): readonly string[] {
  const [domain = '', ...rest] = value.split('/')
  const as = (td: string): string => [td, ...rest].join('/')
  if (rest.length !== 4) return [value]
  if (domain === '*-td') return [as('td1'), value]
  return ['td1', 'old-td', 'cluster.local'].includes(domain) ? [as('td1'), as('old-td')] : [value]
}

function starred(value: string, alone: string): string {
  const literal = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  if (value === '*') return alone
  if (value.startsWith('*')) return `.*${literal(value.slice(1))}`
  return value.endsWith('*') ? `${literal(value.slice(0, -1))}.*` : literal(value)
}

/** Bits as text. */
function inBlock(block: string, address: string): boolean {
  const bits = (ip: string): string =>
    ip
      .split('.')
      .map(part => Number(part).toString(2).padStart(8, '0'))
      .join('')
  const [base = '', length = '32'] = block.split('/')
  return bits(base).slice(0, Number(length)) === bits(address).slice(0, Number(length))
}
