/** PeerAuthentications that say what ambient does not do. */
import type { LintContext } from './finding.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import { canonicalText } from './structure-rules.ts'
import { selectsAll } from '../ztunnel/selector.ts'

export function checkPeers(context: LintContext): void {
  const { peerAuthentications } = context.documents
  const first = new Map<string, PeerAuthentication>()
  for (const policy of [...peerAuthentications].sort(byAge)) {
    const { metadata, spec } = policy
    if (spec.mtls?.mode === 'DISABLE')
      context.report('peer-mode-disable', policy, 'spec.mtls.mode', 'ztunnel enforces DISABLE as PERMISSIVE')
    for (const [port, { mode }] of spec.portLevelMtls ?? [])
      if (mode === 'DISABLE')
        context.report(
          'peer-mode-disable',
          policy,
          `spec.portLevelMtls.${port}.mode`,
          'ztunnel enforces DISABLE as PERMISSIVE',
        )
    if (metadata.namespace === context.settings.rootNamespace && !selectsAll(spec.selector))
      context.report(
        'peer-selector-in-root',
        policy,
        'spec.selector',
        'a selector in the root namespace is ignored',
      )
    const scope = `${metadata.namespace} ${canonicalText(spec.selector?.matchLabels ?? {})}`
    const earlier = first.get(scope)
    if (earlier === undefined) first.set(scope, policy)
    else
      context.report(
        'peer-not-the-first',
        policy,
        'spec',
        `${metadata.namespace}/${earlier.metadata.name} is for the same workloads and wins`,
      )
  }
}

/** istiod's order. */
function byAge(a: PeerAuthentication, b: PeerAuthentication): number {
  const age = (a.metadata.creationTimestamp ?? 0) - (b.metadata.creationTimestamp ?? 0)
  return age !== 0 ? age : a.metadata.name < b.metadata.name ? -1 : 1
}
