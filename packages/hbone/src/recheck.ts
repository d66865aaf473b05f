/** Trust changes while sessions live: each peer is judged again by what it once proved itself with. */
import { type Credentials, messageOf, type PeerExpectation, type PeerVerdict } from '@ambient/core'
import { HboneError } from './errors.ts'
import type { TunnelPeer } from './tunnel.ts'

/** What the peer of a live session showed, and what was asked of it. */
export interface SessionProof {
  readonly peer: TunnelPeer
  /** DER, leaf first, as it sent it. */
  readonly chain: readonly Uint8Array[]
  readonly expect: PeerExpectation
  /** Ours in that handshake. */
  readonly credentials: Credentials
  /** When it was judged, milliseconds since the epoch. */
  readonly since: number
}

/** Says again whether a peer is believed. One that throws has not said yes. */
export type Rejudge = (proof: SessionProof) => PeerVerdict

/**
 * By the verifier of then, which may know of revocations since. Time is that of the handshake, as in ztunnel: a
 * certificate that merely expired ends no session.
 */
export const byItsOwnCredentials: Rejudge = ({ credentials, chain, expect, since }) =>
  credentials.verifyPeer(chain, expect, since)

/** Why the session has to end, `undefined` when it may live. */
export function withdrawnTrust(proof: SessionProof, rejudge: Rejudge): HboneError | undefined {
  const name = proof.peer.id.uri
  try {
    const verdict = rejudge(proof)
    if (verdict.ok) return undefined
    return withdrawn(`${name} is no longer believed: ${verdict.reason}`, verdict.problem)
  } catch (cause) {
    return withdrawn(`${name} could not be judged again: ${messageOf(cause)}`, 'untrusted', cause)
  }
}

function withdrawn(reason: string, problem: string, cause?: unknown): HboneError {
  return new HboneError('AMBIENT_E_PEER_IDENTITY', `connection closed: ${reason}`, {
    layer: 'identity',
    problem,
    // The session did nothing wrong in HTTP/2; ztunnel says the same.
    h2Code: 'NO_ERROR',
    cause,
  })
}
