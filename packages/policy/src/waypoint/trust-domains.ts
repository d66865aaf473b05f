/**
 * Trust domain aliases: a policy that names one member of the bundle means all of them, and `cluster.local` means the
 * mesh's own trust domain.
 *
 * Source: Istio's mesh configuration (`trustDomain`, `trustDomainAliases`), istiod's translation as observed.
 */

/** What Istio's documents call the local trust domain, whatever it is. */
const LOCAL_POINTER = 'cluster.local'
/** `td/ns/x/sa/y`. */
const PRINCIPAL_PARTS = 5

/** The mesh's own trust domain first, then its aliases. */
export type TrustDomains = readonly string[]

export function trustDomainsOf(trustDomain: string, aliases: readonly string[] = []): TrustDomains {
  return [...new Set([trustDomain, ...aliases])]
}

/** Each principal of a member once per member; all others as they stand. */
export function expandPrincipals(principals: readonly string[], members: TrustDomains): readonly string[] {
  const [only] = principals
  if (only !== undefined && principals.length === 1 && members.length === 1)
    return expandPrincipal(only, members)
  return [...new Set(principals.flatMap(principal => expandPrincipal(principal, members)))]
}

/** Each member as all members; all others as they stand: here `cluster.local` is a name like any other. */
export function expandTrustDomains(values: readonly string[], members: TrustDomains): readonly string[] {
  const expand = (value: string): readonly string[] => (members.includes(value) ? members : [value])
  return [...new Set(values.flatMap(expand))]
}

function expandPrincipal(principal: string, members: TrustDomains): readonly string[] {
  const parts = principal.split('/')
  const [domain = ''] = parts
  if (parts.length !== PRINCIPAL_PARTS) return [principal]
  if (domain !== LOCAL_POINTER && !members.some(member => meansMember(domain, member))) return [principal]
  const rest = principal.slice(domain.length)
  // A domain such as `*-td` goes on matching the members that it matches.
  return members.map(member => (endsLike(member, domain) ? principal : member + rest))
}

function meansMember(domain: string, member: string): boolean {
  if (domain === member || endsLike(member, domain) || endsLike(domain, member)) return true
  return beginsLike(member, domain) || beginsLike(domain, member)
}

function beginsLike(text: string, pattern: string): boolean {
  return pattern.endsWith('*') && text.startsWith(pattern.slice(0, -1))
}

function endsLike(text: string, pattern: string): boolean {
  return pattern.startsWith('*') && text.endsWith(pattern.slice(1))
}
