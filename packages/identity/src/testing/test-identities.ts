/** A CA in memory, credentials on demand, and a source whose rotations a test decides. */
import {
  type Clock,
  type Credentials,
  type CredentialsSource,
  parseSpiffeId,
  type SpiffeId,
  systemClock,
  workloadSpiffeId,
} from '@ambient/core'
import { X509Certificate } from 'node:crypto'
import { type CertificateAuthority, createMemoryAuthority } from '../ca/authority.ts'
import { signRevocationList } from '../ca/revocation-list.ts'
import { createCredentials } from '../svid/credentials.ts'
import { createCertificateRequest } from '../x509/csr.ts'

export interface TestIdentitiesOptions {
  /** Default `cluster.local`. */
  readonly trustDomain?: string
  readonly clock?: Clock
}

/** A SPIFFE ID as text, or a workload of the CA's trust domain. */
export type TestIdentity = string | { readonly namespace: string; readonly serviceAccount: string }

export interface TestIdentities {
  readonly ca: CertificateAuthority
  /** New credentials at each call, with a generation higher than all before. */
  credentials(id: TestIdentity, options?: { readonly ttlMs?: number }): Promise<Credentials>
  /** PEM of the CA's list that withdraws these certificates (PEM, leaf first), good for an hour. */
  revocationList(revoked: readonly string[]): Promise<string>
  /** A source that issues each identity once, until `rotate`. */
  source(): TestCredentialsSource
}

export interface TestCredentialsSource extends CredentialsSource {
  /** A new generation now; watchers are told. */
  rotate(id: SpiffeId): Promise<Credentials>
}

export async function createTestIdentities(options: TestIdentitiesOptions = {}): Promise<TestIdentities> {
  const { trustDomain = 'cluster.local', clock } = options
  const { ca, signer } = await createMemoryAuthority({
    trustDomain,
    ...(clock === undefined ? {} : { clock }),
  })
  let generation = 0
  let lists = 0

  const issue = async (id: SpiffeId, ttlMs?: number): Promise<Credentials> => {
    generation += 1
    const own = generation
    const { csrPem, privateKey } = await createCertificateRequest(id)
    const { chain } = await ca.sign({ csrPem, id, ...(ttlMs === undefined ? {} : { ttlMs }) })
    return createCredentials({
      certificateChain: chain.slice(0, -1).join(''),
      privateKey,
      trustBundle: ca.rootPem,
      generation: own,
      ...(clock === undefined ? {} : { clock }),
    })
  }

  return {
    ca,
    credentials: (id, request) =>
      issue(
        typeof id === 'string' ? parseSpiffeId(id) : workloadSpiffeId({ trustDomain, ...id }),
        request?.ttlMs,
      ),
    revocationList(revoked) {
      const now = (clock ?? systemClock).now()
      return signRevocationList(signer, {
        entries: revoked.map(pem => ({ serial: new X509Certificate(pem).serialNumber, at: now })),
        number: ++lists,
        thisUpdate: now,
        nextUpdate: now + 3_600_000,
      })
    },
    source: () => createSource(issue),
  }
}

function createSource(issue: (id: SpiffeId) => Promise<Credentials>): TestCredentialsSource {
  const issued = new Map<string, Credentials>()
  const running = new Map<string, Promise<Credentials>>()
  const watchers = new Map<string, Set<(credentials: Credentials) => void>>()

  const rotate = async (id: SpiffeId): Promise<Credentials> => {
    const credentials = await issue(id)
    issued.set(id.uri, credentials)
    for (const listener of watchers.get(id.uri) ?? []) listener(credentials)
    return credentials
  }

  return {
    rotate,
    async get(id, request) {
      request?.signal?.throwIfAborted()
      const known = issued.get(id.uri)
      if (known !== undefined) return known
      const waiting = running.get(id.uri) ?? rotate(id).finally(() => running.delete(id.uri))
      running.set(id.uri, waiting)
      return waiting
    },
    current: id => issued.get(id.uri),
    watch(id, listener) {
      const listeners = watchers.get(id.uri) ?? new Set()
      watchers.set(id.uri, listeners.add(listener))
      return () => void listeners.delete(listener)
    },
  }
}
