/** What rules ask about an identity, derived once for each: a peer that stays connected is asked about again and again. */
import { type SpiffeId, workloadIdentityOf } from '@ambient/core'

const SCHEME_LENGTH = 'spiffe://'.length
const NAMESPACE = '/ns/'

export interface IdentityFacts {
  /** Without the scheme. */
  readonly principal: string
  /** Empty for IDs that are not in Istio's form. */
  readonly namespace: string
  /** `namespace/service-account` of an ID in Istio's form. */
  readonly account: string | undefined
  /** What stands after each `/ns/` of the ID: one, except in IDs that Istio does not issue. */
  readonly namespaces: readonly string[]
}

export function identityFacts(identity: SpiffeId): IdentityFacts {
  const known = derived.get(identity)
  if (known !== undefined) return known
  const workload = workloadIdentityOf(identity)
  const facts = {
    principal: identity.uri.slice(SCHEME_LENGTH),
    namespace: workload?.namespace ?? '',
    account: workload && `${workload.namespace}/${workload.serviceAccount}`,
    namespaces: namespacesIn(identity.uri),
  }
  derived.set(identity, facts)
  return facts
}

const derived = new WeakMap<SpiffeId, IdentityFacts>()

function namespacesIn(uri: string): readonly string[] {
  const found: string[] = []
  for (let at = uri.indexOf(NAMESPACE); at >= 0; at = uri.indexOf(NAMESPACE, at + 1)) {
    const start = at + NAMESPACE.length
    const end = uri.indexOf('/', start)
    found.push(uri.slice(start, end < 0 ? uri.length : end))
  }
  return found
}
