/** PeerAuthentication and RequestAuthentication in code. */
import type { MutualTlsMode, PeerAuthentication } from '../documents/peer-authentication.ts'
import { readPeerAuthentication } from '../documents/read-peer-authentication.ts'
import { readRequestAuthentication } from '../documents/read-request-authentication.ts'
import type { JwtRule, RequestAuthentication } from '../documents/request-authentication.ts'
import { checkedDocument, type ManifestDraft } from './check.ts'
import { jwtRuleManifest, toYaml } from './manifest.ts'
import { metadataDraft, targetDraft } from './metadata.ts'
import type { MetadataTerms, ObjectName, TargetTerms } from './terms.ts'

/** Whether workloads take plaintext. Every method gives a new builder. */
export interface PeerAuthenticationBuilder {
  /** For the workloads with these labels only, in the document's namespace. */
  select(labels: Readonly<Record<string, string>>): PeerAuthenticationBuilder
  /** STRICT takes proven peers only, PERMISSIVE plaintext too. In ambient mode DISABLE is PERMISSIVE. */
  mode(mode: MutualTlsMode): PeerAuthenticationBuilder
  /** Another mode for one port of the workload; needs `select`. */
  port(port: number, mode: MutualTlsMode): PeerAuthenticationBuilder
  /** @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with every mistake that Istio's admission would find, or no namespace. */
  build(): PeerAuthentication
  /** `build()` as YAML text. */
  toYaml(): string
}

/** Which tokens are believed. Every method gives a new builder. */
export interface RequestAuthenticationBuilder {
  /** For the workloads with these labels only. Never at a waypoint. */
  select(labels: Readonly<Record<string, string>>): RequestAuthenticationBuilder
  /** For this service, waypoint or gateway, in the document's namespace. Repeat it for several. */
  at(target: TargetTerms): RequestAuthenticationBuilder
  /** One more issuer. A request without a token still passes: policies ask for one. */
  jwt(rule: JwtRule): RequestAuthenticationBuilder
  /** @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with every mistake that Istio's admission would find, or no namespace. */
  build(): RequestAuthentication
  /** `build()` as YAML text. */
  toYaml(): string
}

interface PeerDraft {
  readonly metadata: Readonly<Record<string, unknown>>
  readonly selector?: Readonly<Record<string, string>>
  readonly mode?: MutualTlsMode
  readonly ports: readonly (readonly [port: number, mode: MutualTlsMode])[]
}

interface RequestDraft {
  readonly metadata: Readonly<Record<string, unknown>>
  readonly selector?: Readonly<Record<string, string>>
  readonly targets: readonly TargetTerms[]
  readonly rules: readonly JwtRule[]
}

/** Without `mode` it inherits: of the namespace, of the mesh, and PERMISSIVE in the end. */
export function peerAuthentication(
  name: ObjectName,
  metadata: MetadataTerms = {},
): PeerAuthenticationBuilder {
  return peerBuilder({ metadata: metadataDraft(name, metadata), ports: [] })
}

/** Which tokens are believed, and where they are. */
export function requestAuthentication(
  name: ObjectName,
  metadata: MetadataTerms = {},
): RequestAuthenticationBuilder {
  return requestBuilder({ metadata: metadataDraft(name, metadata), targets: [], rules: [] })
}

function peerBuilder(draft: PeerDraft): PeerAuthenticationBuilder {
  const build = (): PeerAuthentication => checkedDocument(peerManifest(draft), readPeerAuthentication, [])
  return {
    select: labels => peerBuilder({ ...draft, selector: { ...draft.selector, ...labels } }),
    mode: mode => peerBuilder({ ...draft, mode }),
    port: (port, mode) => peerBuilder({ ...draft, ports: [...draft.ports, [port, mode]] }),
    build,
    toYaml: () => toYaml(build()),
  }
}

function peerManifest({ metadata, selector, mode, ports }: PeerDraft): ManifestDraft {
  return {
    kind: 'PeerAuthentication',
    metadata,
    spec: {
      ...(selector === undefined ? {} : { selector: { matchLabels: selector } }),
      ...(mode === undefined ? {} : { mtls: { mode } }),
      ...(ports.length === 0
        ? {}
        : { portLevelMtls: Object.fromEntries(ports.map(([port, own]) => [port, { mode: own }])) }),
    },
  }
}

function requestBuilder(draft: RequestDraft): RequestAuthenticationBuilder {
  const build = (): RequestAuthentication =>
    checkedDocument(requestManifest(draft), readRequestAuthentication, [])
  return {
    select: labels => requestBuilder({ ...draft, selector: { ...draft.selector, ...labels } }),
    at: target => requestBuilder({ ...draft, targets: [...draft.targets, target] }),
    jwt: rule => requestBuilder({ ...draft, rules: [...draft.rules, rule] }),
    build,
    toYaml: () => toYaml(build()),
  }
}

function requestManifest({ metadata, selector, targets, rules }: RequestDraft): ManifestDraft {
  return {
    kind: 'RequestAuthentication',
    metadata,
    spec: {
      ...(selector === undefined ? {} : { selector: { matchLabels: selector } }),
      ...(targets.length === 0 ? {} : { targetRefs: targets.map(targetDraft) }),
      ...(rules.length === 0 ? {} : { jwtRules: rules.map(jwtRuleManifest) }),
    },
  }
}
