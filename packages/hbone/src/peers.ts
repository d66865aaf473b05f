/**
 * Who calls, behind a waypoint: the immediate peer, which the tunnel proves, and the original caller, which a trusted waypoint
 * passes on in `x-forwarded-client-cert` (Gateway annotation `ambient.istio.io/xfcc-include-client-identity`).
 */
import { readSpiffeId, sameSpiffeId, type SpiffeId } from '@ambient/core'

export interface Peers {
  /** Who proved its identity on the tunnel. */
  readonly immediate: SpiffeId
  /**
   * The caller whom a waypoint spoke to: the immediate peer itself when that is no waypoint; `undefined` when it is one and
   * does not say, or not in a form that can be believed.
   */
  readonly original: SpiffeId | undefined
}

/** As Envoy writes it with one element: who passes it on, and whose certificate it saw. */
export function formatForwardedClientCert(facts: { readonly by: SpiffeId; readonly uri: SpiffeId }): string {
  return `By=${facts.by.uri};URI=${facts.uri.uri}`
}

/**
 * The callers of a request. The header counts only when the immediate peer is one of `waypoints`, names that very waypoint,
 * and holds exactly one element with one URI: anybody can send one.
 *
 * @param forwardedClientCert value of the request's `x-forwarded-client-cert`, repeated fields joined with commas.
 */
export function peersOf(facts: {
  readonly immediate: SpiffeId
  readonly forwardedClientCert: string | undefined
  readonly waypoints: readonly SpiffeId[]
}): Peers {
  const { immediate, forwardedClientCert, waypoints } = facts
  if (!waypoints.some(waypoint => sameSpiffeId(waypoint, immediate)))
    return { immediate, original: immediate }
  const element = readElement(forwardedClientCert ?? '')
  const isOwn = element?.by === immediate.uri
  const read = isOwn && element !== undefined ? readSpiffeId(element.uri) : undefined
  return { immediate, original: read?.ok === true ? read.id : undefined }
}

/** SPIFFE IDs hold none of the characters that would have to be quoted, so what is quoted is not one. */
function readElement(header: string): { readonly by: string; readonly uri: string } | undefined {
  const [, by, uri] = /^By=([^,;"\s]+);URI=([^,;"\s]+)$/.exec(header) ?? []
  return by === undefined || uri === undefined ? undefined : { by, uri }
}
