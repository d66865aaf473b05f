/** Who is at the other end of a TLS socket, once our own verdict has said so. */
import type { DetailedPeerCertificate, PeerCertificate, TLSSocket } from 'node:tls'
import type { Credentials, SpiffeId } from '@ambient/core'
import type { IdentityError } from '../errors.ts'
import { type Expectation, judge, refusal } from './expectation.ts'

/** On the socket itself, because HTTP/2 shows its sockets through proxies. */
const proven: unique symbol = Symbol('proven peer')

/** A chain longer than this is refused by the verifier anyway. */
const MAX_CHAIN = 10

/**
 * The proven identity of a peer: of a `TLSSocket`, of an HTTP request (its `socket`), of an HTTP/2 session or stream.
 * `undefined` unless it came through {@link secureServer}, {@link connectTls} or what is made of them, and was believed.
 */
export function peerIdentity(of: unknown): SpiffeId | undefined {
  return idOn(of) ?? idOn(inside(of, 'socket')) ?? idOn(inside(inside(of, 'session'), 'socket'))
}

/** Judges who is there, and remembers the answer with the socket. What it gives is `undefined` or the refusal. */
export function prove(
  socket: TLSSocket,
  credentials: Credentials | undefined,
  expect: Expectation,
  subject: string,
): IdentityError | undefined {
  if (credentials === undefined)
    return refusal(subject, {
      ok: false,
      problem: 'untrusted',
      reason: 'we hold no valid certificate ourselves',
    })
  // Nobody offers resumption here; one that happened all the same has proven nothing.
  if (socket.isSessionReused())
    return refusal(subject, { ok: false, problem: 'no-certificate', reason: 'a TLS session was resumed' })
  const verdict = judge(chainOfPeer(socket.getPeerCertificate(true)), credentials, expect)
  if (!verdict.ok) return refusal(subject, verdict)
  // By assignment, which is what those proxies pass on.
  Reflect.set(socket, proven, verdict.id)
  return undefined
}

/**
 * DER, leaf first, of what `checkServerIdentity` is given and `getPeerCertificate(true)` gives. Not by
 * `getPeerX509Certificate`: it takes the leaf out of the chain that a client's connection holds (Node 20 to 24).
 */
export function chainOfPeer(certificate: PeerCertificate): readonly Uint8Array[] {
  const chain: Uint8Array[] = []
  const seen = new Set<unknown>()
  let at: PeerCertificate | undefined = certificate
  while (at?.raw !== undefined && chain.length < MAX_CHAIN && !seen.has(at.fingerprint256)) {
    seen.add(at.fingerprint256)
    chain.push(at.raw)
    at = isDetailed(at) ? at.issuerCertificate : undefined
  }
  return chain
}

function isDetailed(certificate: PeerCertificate): certificate is DetailedPeerCertificate {
  return 'issuerCertificate' in certificate
}

function idOn(holder: unknown): SpiffeId | undefined {
  // Only this module knows the symbol, so that nothing else is found there.
  return inside(holder, proven) as SpiffeId | undefined
}

function inside(holder: unknown, key: string | symbol): unknown {
  if (typeof holder !== 'object' || holder === null) return undefined
  try {
    return Reflect.get(holder, key)
  } catch {
    // The socket of an HTTP/2 session that has ended.
    return undefined
  }
}
