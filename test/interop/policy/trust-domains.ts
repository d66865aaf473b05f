/** Trust domain aliases as istiod expands them, written apart from the engine. */

/** Each principal of the bundle once per member. */
export function expandPrincipal(principal: string, bundle: readonly string[]): readonly string[] {
  const [domain = '', ...rest] = principal.split('/')
  if (rest.length !== 4 || domain === '*') return [principal]
  const known = bundle.some(
    member => member === domain || member === '*' || like(domain, member) || like(member, domain),
  )
  if (!known && domain !== 'cluster.local') return [principal]
  const kept = (member: string): boolean => domain.startsWith('*') && member.endsWith(domain.slice(1))
  return [...new Set(bundle.map(member => (kept(member) ? principal : [member, ...rest].join('/'))))]
}

/** A listed member means all of them; `cluster.local` is no pointer here. */
export function expandDomain(domain: string, bundle: readonly string[]): readonly string[] {
  return bundle.includes(domain) ? bundle : [domain]
}

function like(value: string, pattern: string): boolean {
  if (pattern.endsWith('*') && value.startsWith(pattern.slice(0, -1))) return true
  return pattern.startsWith('*') && value.endsWith(pattern.slice(1))
}
