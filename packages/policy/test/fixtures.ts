/** Connections, workloads and policies in a few words. */
import { type Connection, parseSpiffeId, type Workload } from '@ambient/core'
import {
  type Authorization,
  type AuthorizationMatch,
  type AuthorizationPolicy,
  type AuthorizationPolicySpec,
  emptyMatch,
  type PeerAuthentication,
  type PeerAuthenticationSpec,
} from '@ambient/policy'

export function workload(of: Partial<Workload> = {}): Workload {
  return {
    uid: 'c//Pod/shop/web-1',
    name: 'web-1',
    namespace: 'shop',
    addresses: ['10.0.0.2'],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: 'web',
    node: 'n',
    canonicalName: 'web',
    canonicalRevision: 'latest',
    workloadType: 'pod',
    workloadName: 'web-1',
    nativeTunnel: false,
    services: new Map(),
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'c',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...of,
  }
}

export interface ConnectionOf {
  /** `cluster.local/ns/…`, `null` for plaintext. */
  readonly principal?: string | null
  readonly from?: string
  readonly to?: string
  readonly port?: number
  readonly workload?: Workload | null
  readonly network?: string
}

/** From `cluster.local/ns/client/sa/alice` at 10.0.0.1 to 10.0.0.2:80 of the workload `shop/web-1`. */
export function connection(of: ConnectionOf = {}): Connection {
  const principal = of.principal === undefined ? 'cluster.local/ns/client/sa/alice' : of.principal
  const to = of.workload === null ? {} : { workload: of.workload ?? workload() }
  return {
    id: '0123456789abcdef0123456789abcdef',
    direction: 'inbound',
    source: {
      address: of.from ?? '10.0.0.1',
      port: 40000,
      ...(principal === null ? {} : { identity: parseSpiffeId(`spiffe://${principal}`) }),
    },
    destination: { address: of.to ?? '10.0.0.2', port: of.port ?? 80, network: of.network ?? '', ...to },
  }
}

/** A policy of one rule per argument, each rule a list of clauses, each clause a list of partial matches. */
export function policy(
  of: Partial<Authorization>,
  ...rules: readonly (readonly (readonly Partial<AuthorizationMatch>[])[])[]
): Authorization {
  return {
    name: 'p',
    namespace: 'shop',
    scope: 'Namespace',
    action: 'Allow',
    dryRun: false,
    rules: rules.map(clauses => ({
      clauses: clauses.map(matches => ({ matches: matches.map(match => ({ ...emptyMatch, ...match })) })),
    })),
    ...of,
  }
}

export function document(
  spec: AuthorizationPolicySpec,
  of: Partial<AuthorizationPolicy['metadata']> = {},
): AuthorizationPolicy {
  return {
    kind: 'AuthorizationPolicy',
    metadata: { name: 'p', namespace: 'shop', labels: {}, annotations: {}, ...of },
    spec,
  }
}

export function peerAuthentication(
  spec: PeerAuthenticationSpec,
  of: Partial<PeerAuthentication['metadata']> = {},
): PeerAuthentication {
  return {
    kind: 'PeerAuthentication',
    metadata: { name: 'p', namespace: 'shop', labels: {}, annotations: {}, ...of },
    spec,
  }
}
