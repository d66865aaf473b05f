/** What is due to one caller: its identities' credentials, followed while a stream lives, and bundles beside them. */
import { createPrivateKey } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { status } from '@grpc/grpc-js'
import { type Credentials, type CredentialsSource, messageOf } from '@ambient/core'
import type { SpiffeBundle } from '../bundle/spiffe-bundle.ts'
import { formatSpiffeBundle } from '../bundle/spiffe-bundle.ts'
import { workloadApiServerDefaults } from '../defaults.ts'
import {
  type JWTBundlesResponse,
  JWTBundlesResponseSchema,
  type X509BundlesResponse,
  X509BundlesResponseSchema,
  type X509SVIDResponse,
  X509SVIDResponseSchema,
  X509SVIDSchema,
} from '../gen/workload-api_pb.ts'
import { readBundleCertificates, readPemCertificates } from '../x509/pem.ts'
import type { DueIdentity } from './caller.ts'
import { CallRefused } from './snapshot-stream.ts'

export interface DueSvid {
  readonly due: DueIdentity
  readonly credentials: Credentials
}

/** What is believed beside what the credentials came with. */
export interface Beliefs {
  readonly federation: ReadonlyMap<string, SpiffeBundle>
  /** The roots of our own trust domain as they are now. */
  readonly own: { readonly trustDomain: string; readonly rootPem: string } | undefined
  /** DER. */
  readonly crls: readonly Uint8Array[]
}

/** Follows the identities of one stream; which they are may change with each look. */
export interface FollowedSvids {
  /** Valid now, in the policy's order. Rejects with `CallRefused` when not one of them can be had. */
  current(due: readonly DueIdentity[], signal: AbortSignal): Promise<readonly DueSvid[]>
  stop(): void
}

export function followSvids(source: CredentialsSource, changed: () => void): FollowedSvids {
  const watches = new Map<string, () => void>()
  return {
    async current(due, signal) {
      const wanted = new Set(due.map(({ id }) => id.uri))
      for (const [uri, stop] of watches)
        if (!wanted.has(uri)) {
          stop()
          watches.delete(uri)
        }
      for (const { id } of due) if (!watches.has(id.uri)) watches.set(id.uri, source.watch(id, changed))
      return fetchAll(source, due, signal)
    },
    stop() {
      for (const stop of watches.values()) stop()
      watches.clear()
    },
  }
}

/** One of several that cannot be had is left out: it is not held back from the others. */
async function fetchAll(
  source: CredentialsSource,
  due: readonly DueIdentity[],
  signal: AbortSignal,
): Promise<readonly DueSvid[]> {
  const patience = AbortSignal.any([
    signal,
    AbortSignal.timeout(workloadApiServerDefaults.firstSvidTimeoutMs),
  ])
  const fetched = await Promise.allSettled(due.map(({ id }) => source.get(id, { signal: patience })))
  const svids: DueSvid[] = []
  let problem: unknown = 'there is none'
  for (const [index, result] of fetched.entries()) {
    const identity = due[index]
    if (result.status === 'rejected') problem = result.reason
    else if (identity !== undefined) svids.push({ due: identity, credentials: result.value })
  }
  if (svids.length === 0)
    throw new CallRefused(status.UNAVAILABLE, `no certificate can be had: ${messageOf(problem)}`)
  return svids
}

export function x509Response(svids: readonly DueSvid[], beliefs: Beliefs): X509SVIDResponse {
  const own = new Set(svids.map(({ credentials }) => credentials.id.trustDomain))
  const bundles = x509Bundles(svids, beliefs)
  const federated = [...bundles].filter(([domain]) => !own.has(domain))
  return create(X509SVIDResponseSchema, {
    svids: svids.map(({ due, credentials }) =>
      create(X509SVIDSchema, {
        spiffeId: credentials.id.uri,
        x509Svid: Buffer.concat(readPemCertificates(credentials.certificateChain)),
        x509SvidKey: createPrivateKey(credentials.privateKey()).export({ type: 'pkcs8', format: 'der' }),
        bundle: bundles.get(credentials.id.trustDomain) ?? new Uint8Array(),
        hint: due.hint ?? '',
      }),
    ),
    federatedBundles: byId(federated),
    crl: [...beliefs.crls],
  })
}

export function x509BundlesResponse(svids: readonly DueSvid[], beliefs: Beliefs): X509BundlesResponse {
  return create(X509BundlesResponseSchema, {
    bundles: byId([...x509Bundles(svids, beliefs)]),
    crl: [...beliefs.crls],
  })
}

export function jwtBundlesResponse(bundles: ReadonlyMap<string, SpiffeBundle>): JWTBundlesResponse {
  const documents = [...bundles].map(([domain, { trustDomain, jwtAuthorities }]): [string, Uint8Array] => [
    domain,
    Buffer.from(formatSpiffeBundle({ trustDomain, x509Authorities: [], jwtAuthorities, ignored: [] })),
  ])
  return create(JWTBundlesResponseSchema, { bundles: byId(documents) })
}

/** Those of the identities' own domains last, so that no federation speaks for them. */
function x509Bundles(
  svids: readonly DueSvid[],
  { federation, own }: Beliefs,
): ReadonlyMap<string, Uint8Array> {
  const bundles = new Map<string, Uint8Array>()
  for (const [domain, { x509Authorities }] of federation)
    if (x509Authorities.length > 0) bundles.set(domain, Buffer.concat(x509Authorities))
  for (const { credentials } of svids)
    for (const [domain, pem] of credentials.federatedBundles)
      bundles.set(domain, Buffer.concat(readBundleCertificates(pem)))
  for (const { credentials } of svids)
    bundles.set(credentials.id.trustDomain, Buffer.concat(readBundleCertificates(credentials.trustBundle)))
  if (own !== undefined) bundles.set(own.trustDomain, Buffer.concat(readBundleCertificates(own.rootPem)))
  return bundles
}

/** In one order, so that equal snapshots are equal bytes. */
function byId(entries: readonly (readonly [string, Uint8Array])[]): Record<string, Uint8Array> {
  return Object.fromEntries(
    [...entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([domain, value]) => [`spiffe://${domain}`, value]),
  )
}
