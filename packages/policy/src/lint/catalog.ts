/**
 * Every rule of lint: its id, how bad what it finds is, why, and what to do. The pages of docs/lint are written from this
 * table.
 *
 * Why so long: one table, so that ids, pages and the list of rules in SARIF cannot come apart.
 */

export type LintSeverity = 'error' | 'warning' | 'info'

export interface LintRule {
  readonly severity: LintSeverity
  /** One line. */
  readonly title: string
  /** What happens if it stays. */
  readonly why: string
  readonly fix: string
  /** Only where something is known of workloads, services or gateways. */
  readonly needsMesh?: true
}

const table = {
  'never-matches': {
    severity: 'error',
    title: 'The rule can never match',
    why: 'No request satisfies all that the rule asks for: an ALLOW rule allows nothing, a DENY rule denies nothing.',
    fix: 'Take away one of the conditions that exclude each other, or write two rules.',
  },
  'unmatchable-value': {
    severity: 'error',
    title: 'A value that nothing is ever equal to',
    why: 'Paths begin with `/` and are compared without query and fragment, in ASCII; no connection has port 0. The value is as good as absent.',
    fix: 'Write the value as it arrives at the proxy: a path from `/` on without `?` and `#`, a port from 1 on.',
  },
  'principal-with-scheme': {
    severity: 'error',
    title: 'A principal with `spiffe://`',
    why: 'Principals are compared without their scheme: `spiffe://cluster.local/ns/shop/sa/web` matches no caller.',
    fix: 'Leave `spiffe://` out: `cluster.local/ns/shop/sa/web`.',
  },
  'principal-form': {
    severity: 'warning',
    title: 'A principal that no Istio identity has',
    why: "Istio's identities are `TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`. A principal of another form is no caller of the mesh.",
    fix: 'Write all five parts, or a prefix (`td/ns/shop/*`) or suffix (`*/sa/web`) of them.',
  },
  'two-wildcards': {
    severity: 'warning',
    title: 'A star that is taken literally',
    why: 'A star counts at the beginning or at the end, not at both and not in between: `*abc*` is the suffix `abc*` with a real star.',
    fix: 'Keep one star. In paths, templates can say more: `/a/{*}/c`, `/a/{**}`.',
  },
  'method-case': {
    severity: 'warning',
    title: 'A method that is not in upper case',
    why: 'Methods are compared with their case, and clients send `GET`, not `get`. gRPC is always `POST`.',
    fix: 'Write the method in upper case.',
  },
  'path-not-canonical': {
    severity: 'warning',
    title: 'A path that is normalized before it is compared',
    why: 'The proxy resolves dot segments and decodes what needs no escape before policies see the path: a request for the path as it is written arrives as another one.',
    fix: 'Write the path in the form that the message names.',
  },
  'mapped-block': {
    severity: 'warning',
    title: 'An IPv4 block written as IPv6',
    why: 'Envoy compares callers with an IPv4 address with IPv4 blocks only: `::ffff:10.0.0.0/104` matches none of them there.',
    fix: 'Write the block as IPv4: `10.0.0.0/8`.',
  },
  'host-form': {
    severity: 'warning',
    title: 'A host that no client sends',
    why: 'Hosts are compared with `:authority` (or `Host`): a name, with `:PORT` when it was sent. There is no scheme, path or space in it.',
    fix: 'Write the name alone: `web.shop.svc.cluster.local`.',
  },
  'host-without-port': {
    severity: 'warning',
    title: 'A denied host that is reached by naming a port',
    why: 'The port that a client sends is part of the host: `web.example:8080` is not `web.example`, so the DENY (or the exception of an ALLOW) does not apply to it.',
    fix: 'Add the form with a port beside it: `web.example:*`.',
  },
  'l4-deny-ignored': {
    severity: 'error',
    title: 'A DENY rule that denies nothing at ztunnel',
    why: 'A policy without targetRefs is enforced by ztunnel, which sees no HTTP: a source, operation or condition of HTTP alone never matches there, and with it the rule.',
    fix: 'Give the service a waypoint and name it in `targetRefs`, or deny by principal, namespace, address or port.',
  },
  'l4-deny-wider': {
    severity: 'warning',
    title: 'A DENY rule that denies more at ztunnel than it says',
    why: 'ztunnel leaves the fields of HTTP out of a source or operation and enforces the rest of it.',
    fix: 'Split the rule: what ztunnel can judge stays, what needs HTTP goes to a policy with `targetRefs`.',
  },
  'l4-deny-narrower': {
    severity: 'warning',
    title: 'A DENY rule that denies less at ztunnel than it says',
    why: 'Alternatives of HTTP fields alone never match at ztunnel: only the others deny.',
    fix: 'Move the alternatives of HTTP to a policy with `targetRefs`.',
  },
  'l4-allow-dropped': {
    severity: 'error',
    title: 'An ALLOW rule that ztunnel does not have',
    why: 'A policy without targetRefs is enforced by ztunnel, which sees no HTTP: an ALLOW rule with a field of HTTP is left out, and what it was to allow is denied.',
    fix: 'Give the service a waypoint and name it in `targetRefs`; at ztunnel allow the waypoint.',
  },
  'l4-trust-domains': {
    severity: 'error',
    title: '`trustDomains` at ztunnel, which does not know them',
    why: 'istiod leaves `trustDomains` out of what it sends to ztunnel, without a word: alone they match nothing, beside other fields the rule becomes wider.',
    fix: 'Write the trust domain into `principals`: `TRUST-DOMAIN/*`.',
  },
  'l4-remote-ip': {
    severity: 'error',
    title: 'The address of the original client at ztunnel',
    why: '`remoteIpBlocks` and `remote.ip` come from a header that a trusted proxy adds: ztunnel, which sees no headers, does not judge them.',
    fix: 'Use `ipBlocks` or `source.ip` at ztunnel; the original client is known at a gateway or waypoint.',
  },
  'l4-action': {
    severity: 'error',
    title: 'An action that ztunnel does not have',
    why: 'AUDIT and CUSTOM without targetRefs go to ztunnel, which refuses the policy: nothing is audited, nobody is asked.',
    fix: 'Name the Service or Gateway of a waypoint in `targetRefs`.',
  },
  'l4-dry-run': {
    severity: 'warning',
    title: 'A dry run at ztunnel',
    why: 'istiod sends dry-run policies to ztunnel only with AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY, which is off by default: the policy is neither tried nor enforced.',
    fix: 'Turn the flag on, or try the policy with `ambient policy what-if`.',
  },
  'negative-only': {
    severity: 'warning',
    title: 'Callers in plaintext pass a rule that only says who they are not',
    why: 'Whoever has no identity has none of those that `notPrincipals`, `notNamespaces` and `notServiceAccounts` exclude.',
    fix: 'Ask for an identity too, `principals: ["*"]`, or turn plaintext off with a PeerAuthentication of mode STRICT.',
  },
  'duplicate-rule': {
    severity: 'warning',
    title: 'The same rule twice',
    why: 'The second one changes nothing; whoever edits one of them expects that it counts.',
    fix: 'Remove one of them.',
  },
  'shadowed-rule': {
    severity: 'warning',
    title: 'A rule that an earlier one makes superfluous',
    why: 'All that it matches is matched by another rule of the same action already.',
    fix: 'Remove it, or make the other one narrower.',
  },
  'shadowed-policy': {
    severity: 'warning',
    title: 'A policy that another one makes superfluous',
    why: 'All that its rules match is matched by another policy of the same action for the same targets already.',
    fix: 'Remove it, or make the other one narrower.',
  },
  'allows-everything': {
    severity: 'warning',
    title: 'An ALLOW rule without conditions',
    why: 'An empty rule matches every connection, callers without identity included; with it no other ALLOW policy restricts anything.',
    fix: 'Say who may: `from: [{ source: { principals: ["*"] } }]` at least asks for an identity of the mesh.',
  },
  'wide-wildcard': {
    severity: 'warning',
    title: 'A wildcard that takes in more than one would think',
    why: 'A suffix of a principal matches in every trust domain and namespace; a block of the whole internet matches everybody; `*` alone is no restriction.',
    fix: 'Name the trust domain and the namespace, or the network.',
  },
  'source-ip-at-waypoint': {
    severity: 'warning',
    title: "An address that Istio's own waypoint never sees",
    why: "Behind the waypoint's internal listener Envoy has no address of the caller: `ipBlocks` and `source.ip` never match there, and their not-forms always do. (The waypoint of this project knows the address.)",
    fix: 'Judge addresses at ztunnel, in a policy without `targetRefs`, or use identities.',
  },
  'unknown-namespace': {
    severity: 'warning',
    title: 'A namespace that does not exist',
    why: 'Nobody calls from there: most often it is a slip of the pen, and the caller that was meant is refused. A pattern is told where it matches none of the namespaces that are known.',
    fix: 'Correct the name, or create the namespace.',
    needsMesh: true,
  },
  'unknown-service-account': {
    severity: 'warning',
    title: 'A service account that no workload has',
    why: 'Nobody has this identity: most often it is a slip of the pen, and the caller that was meant is refused.',
    fix: 'Correct the name, or give the workload the account.',
    needsMesh: true,
  },
  'unknown-service': {
    severity: 'warning',
    title: 'A host of a service that does not exist',
    why: 'No request is for it.',
    fix: 'Correct the name: `SERVICE.NAMESPACE.svc.cluster.local`.',
    needsMesh: true,
  },
  'unknown-trust-domain': {
    severity: 'warning',
    title: 'A trust domain that is not of this mesh',
    why: 'Only callers of a federated mesh have identities of another trust domain; ztunnel does not read `cluster.local` as the local one.',
    fix: "Write the mesh's own trust domain, or name the other one with --trust-domain-alias.",
  },
  'empty-selector': {
    severity: 'error',
    title: 'A selector without labels',
    why: 'In ambient mode it selects no workload: the policy is enforced nowhere.',
    fix: 'Leave `selector` out to mean every workload of the namespace.',
  },
  'selector-without-match': {
    severity: 'warning',
    title: 'A selector that finds nobody',
    why: 'No workload has these labels: the policy is enforced nowhere.',
    fix: 'Compare with the labels of the pods, not of the Deployment or the Service.',
    needsMesh: true,
  },
  'target-not-found': {
    severity: 'error',
    title: 'A target that does not exist',
    why: 'The policy is enforced nowhere.',
    fix: 'Correct kind and name: targets are in the namespace of the policy.',
    needsMesh: true,
  },
  'target-in-other-namespace': {
    severity: 'error',
    title: 'A target in another namespace',
    why: 'A policy is for targets of its own namespace: a reference with another namespace never attaches.',
    fix: "Move the policy to the target's namespace.",
  },
  'target-without-waypoint': {
    severity: 'error',
    title: 'A target that no waypoint serves',
    why: 'Policies with `targetRefs` are enforced at a waypoint. The service has none: its traffic goes straight to the pods, and the policy is enforced nowhere.',
    fix: 'Label the service or its namespace with `istio.io/use-waypoint`, or write the policy for ztunnel, without `targetRefs`.',
    needsMesh: true,
  },
  'gateway-class': {
    severity: 'error',
    title: 'A GatewayClass that attaches nothing',
    why: 'Only the class `istio-waypoint`, and only from the root namespace, stands for all waypoints.',
    fix: 'Move the policy to the root namespace and name `istio-waypoint`, or name the Gateway.',
  },
  'waypoint-not-allowed': {
    severity: 'error',
    title: 'The waypoint is not allowed to reach its own workload',
    why: "Behind a waypoint, the workload's ztunnel sees the waypoint as the caller, not the client. An ALLOW for the clients only refuses all that comes through the waypoint.",
    fix: "Add the waypoint's principal to the ALLOW at ztunnel, and judge the clients at the waypoint. Where the control plane adds such a policy (`ambient up --require-waypoint`, istiod's PILOT_AUTO_ALLOW_WAYPOINT_POLICY), say so with `--require-waypoint`.",
    needsMesh: true,
  },
  'service-port-at-ztunnel': {
    severity: 'warning',
    title: "A service's port where workload ports are compared",
    why: 'ztunnel sees the port of the pod (targetPort), not that of the service: the rule does not match.',
    fix: "Write the workload's port.",
    needsMesh: true,
  },
  'workload-port-at-waypoint': {
    severity: 'warning',
    title: "A workload's port where service ports are compared",
    why: 'A waypoint sees the port of the service, not that of the pod: the rule does not match.',
    fix: "Write the service's port.",
    needsMesh: true,
  },
  'unknown-provider': {
    severity: 'error',
    title: 'A CUSTOM policy whose provider nobody configured',
    why: 'Without its provider the proxy denies all that the rules of the policy match.',
    fix: 'Add the provider to `extensionProviders` of the mesh configuration, or correct its name.',
  },
  'jwt-without-issuer': {
    severity: 'error',
    title: 'A rule about tokens that nobody verifies',
    why: 'Principals and claims of a request come from a token that a RequestAuthentication for the same target accepted. There is none for this issuer: the rule sees no token, its positive conditions never match.',
    fix: 'Add a RequestAuthentication with the issuer for the same target.',
  },
  'jwt-not-required': {
    severity: 'warning',
    title: 'Tokens are verified, and not asked for',
    why: 'A RequestAuthentication refuses bad tokens; requests without one pass.',
    fix: 'Add an ALLOW with `requestPrincipals: ["*"]`, or a DENY with `notRequestPrincipals: ["*"]`, for the same target.',
  },
  'request-authentication-at-ztunnel': {
    severity: 'warning',
    title: 'A RequestAuthentication without targetRefs',
    why: 'ztunnel sees no tokens, and a waypoint takes only policies whose `targetRefs` name its Service or Gateway: no token is looked at.',
    fix: 'Name the Service or the Gateway in `targetRefs`.',
  },
  'peer-mode-disable': {
    severity: 'warning',
    title: 'Mode DISABLE, which ambient does not have',
    why: 'ztunnel always takes mTLS: DISABLE is enforced as PERMISSIVE.',
    fix: 'Write PERMISSIVE, which says what happens.',
  },
  'peer-selector-in-root': {
    severity: 'warning',
    title: 'A PeerAuthentication with a selector in the root namespace',
    why: 'istiod ignores it: selectors reach workloads of their own namespace, and the root namespace is for the whole mesh.',
    fix: "Write it in the workload's namespace.",
  },
  'peer-not-the-first': {
    severity: 'warning',
    title: 'A second PeerAuthentication for the same workloads',
    why: 'Within a scope only the oldest counts, of equally old ones the first by name.',
    fix: 'Keep one.',
  },
  expired: {
    severity: 'warning',
    title: 'A policy whose time is over',
    why: "Its annotation `ambient.dev/expires` says that it ended: it allows nothing any more in this project's mesh. istiod does not look at the annotation: there it still allows.",
    fix: 'Remove the policy, or move its end.',
  },
  temporary: {
    severity: 'info',
    title: 'A policy that will end',
    why: "Its annotation `ambient.dev/expires` names a time from which on it allows nothing in this project's mesh. istiod does not look at the annotation.",
    fix: 'Remove the policy when it has ended.',
  },
  'expiry-without-effect': {
    severity: 'error',
    title: 'An end that does not end anything',
    why: 'Only an ALLOW ends: the end of any other policy would open what it closed.',
    fix: 'Take the annotation away, or write the exception as an ALLOW.',
  },
} as const satisfies Readonly<Record<string, LintRule>>

export type LintId = keyof typeof table

/** By id, in the order of the documentation. */
export const lintRules: Readonly<Record<LintId, LintRule>> = Object.freeze(table)

/** The page of a rule, from the root of the repository. */
export function lintPage(id: LintId): string {
  return `docs/lint/${id}.md`
}

export function isLintId(text: string): text is LintId {
  return Object.hasOwn(table, text)
}
