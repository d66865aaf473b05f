/** What rules ask about an identity, derived once for each: a peer that stays connected is asked about again and again. */
import { type SpiffeId, workloadIdentityOf } from '@ambient/core'

const SCHEME_LENGTH = 'spiffe://'.length
const NAMESPACE = '/ns/'
const ACCOUNT = '/sa/'

export interface IdentityFacts {
  /** Without the scheme. */
  readonly principal: string
  /** Empty for IDs that are not in Istio's form. */
  readonly namespace: string
  /** `namespace/service-account` of an ID in Istio's form. */
  readonly account: string | undefined
  /** What stands after each `/ns/` of the ID: one, except in IDs that Istio does not issue. */
  readonly namespaces: readonly string[]
  /** Each of these with what stands after each `/sa/` behind it, `namespace/service-account`. Envoy looks for them anywhere. */
  readonly accounts: readonly string[]
}

export function identityFacts(identity: SpiffeId): IdentityFacts {
  const known = derived.get(identity)
  if (known !== undefined) return known
  const workload = workloadIdentityOf(identity)
  const facts = {
    principal: identity.uri.slice(SCHEME_LENGTH),
    namespace: workload?.namespace ?? '',
    account: workload && `${workload.namespace}/${workload.serviceAccount}`,
    namespaces: segmentsAfter(NAMESPACE, identity.uri).map(({ segment }) => segment),
    accounts: accountsIn(identity.uri),
  }
  derived.set(identity, facts)
  return facts
}

const derived = new WeakMap<SpiffeId, IdentityFacts>()

interface Segment {
  readonly segment: string
  /** Where it ends. */
  readonly end: number
}

function segmentsAfter(marker: string, uri: string, from = 0): readonly Segment[] {
  const found: Segment[] = []
  for (let at = uri.indexOf(marker, from); at >= 0; at = uri.indexOf(marker, at + 1)) {
    const start = at + marker.length
    const slash = uri.indexOf('/', start)
    const end = slash < 0 ? uri.length : slash
    found.push({ segment: uri.slice(start, end), end })
  }
  return found
}

function accountsIn(uri: string): readonly string[] {
  const accounts = new Set<string>()
  // A trust domain that is called `ns` is no marker: Envoy wants something before it.
  for (const { segment: namespace, end } of segmentsAfter(NAMESPACE, uri, SCHEME_LENGTH + 1))
    for (const { segment } of segmentsAfter(ACCOUNT, uri, end)) accounts.add(`${namespace}/${segment}`)
  return [...accounts]
}
