/** Whom the other end of a TLS connection may be: a rule of X509-SVID verification, or a function over the proven ID. */
import {
  messageOf,
  type Credentials,
  type PeerExpectation,
  type PeerVerdict,
  type SpiffeId,
} from '@ambient/core'
import { IdentityError } from '../errors.ts'

/** A function is asked after the chain is proven; one that throws has not said yes. */
export type Expectation = PeerExpectation | ((id: SpiffeId) => boolean)

/** The verdict of the credentials, and of the function when there is one. Never throws. */
export function judge(
  chain: readonly Uint8Array[],
  credentials: Credentials,
  expect: Expectation,
): PeerVerdict {
  try {
    if (typeof expect !== 'function') return credentials.verifyPeer(chain, expect)
    const verdict = credentials.verifyPeer(chain, { kind: 'any' })
    if (!verdict.ok || expect(verdict.id) === true) return verdict
    return {
      ok: false,
      problem: 'unexpected-identity',
      reason: `leaf: peer is ${verdict.id.uri}, which was not expected`,
    }
  } catch (error) {
    return { ok: false, problem: 'untrusted', reason: `the peer could not be judged: ${messageOf(error)}` }
  }
}

export function refusal(subject: string, verdict: Extract<PeerVerdict, { ok: false }>): IdentityError {
  return new IdentityError('AMBIENT_E_PEER_IDENTITY', `${subject}: ${verdict.reason}`, {
    cause: verdict,
    layer: 'identity',
  })
}

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function checkExpectation(expect: unknown): void {
  const isRule = typeof expect === 'object' && expect !== null && 'kind' in expect
  if (!isRule && typeof expect !== 'function')
    throw new IdentityError(
      'AMBIENT_E_IDENTITY_OPTION',
      'expect: neither a rule ({ kind }) nor a function: say whom you expect',
      { layer: 'config' },
    )
}
