/** The same question to our engine, and its verdict in the words in which Envoy's is read. */
import {
  createEvaluator,
  normalizePath,
  type PolicyDialect,
  type PolicyRequest,
  type PolicyVerdict,
  type RequestAuthentication,
} from '@ambient/policy'
import { type Call, ISSUERS, type PolicySetCase, TRUST_DOMAINS } from './arbitraries.ts'
import { HMAC_JWKS } from './jwt.ts'

export interface Verdict {
  /** 0 for a connection that is closed. */
  readonly status: number
  /** `NS/NAME#RULE` of what decided. */
  readonly by: string | undefined
  readonly path: string | undefined
  readonly audited: boolean
  /** `DENY allowed`, `ALLOW allowed NS/NAME#RULE`. */
  readonly dryRun: readonly string[]
  /** Whether a CUSTOM policy matched. */
  readonly custom: boolean
}

const WAYPOINT = { kind: 'waypoint', namespace: 'shop', name: 'waypoint', service: 'shop/web' } as const

/** Believes the issuers of the generated tokens. */
export const authentication: RequestAuthentication = {
  kind: 'RequestAuthentication',
  metadata: { name: 'tokens', namespace: 'shop', labels: {}, annotations: {} },
  spec: {
    targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
    jwtRules: ISSUERS.map(issuer => ({ issuer, jwks: HMAC_JWKS })),
  },
}

export function ours(
  { policies, normalization }: PolicySetCase,
  dialect: PolicyDialect,
  custom: 'allow' | 'deny',
): (call: Call) => Verdict {
  const [trustDomain, ...trustDomainAliases] = TRUST_DOMAINS
  const evaluator = createEvaluator(
    { authorizationPolicies: policies, requestAuthentications: [authentication] },
    { dialect, trustDomain, trustDomainAliases, pathNormalization: normalization, custom },
  )
  return call => {
    const normalized = normalizePath(call.target, normalization)
    const path = dialect === 'envoy-http' && normalized.ok ? normalized.path : undefined
    return readVerdict(evaluator.decide(requestOf(call, dialect), WAYPOINT), path)
  }
}

function requestOf(call: Call, dialect: PolicyDialect): PolicyRequest {
  const isHttp = dialect === 'envoy-http'
  const remoteIp = isHttp ? (call.forwardedFor ?? call.proxiedIp) : call.proxiedIp
  const names = [...new Set(call.headers.map(([name]) => name))]
  const headers = Object.fromEntries(
    names.map(name => [name, call.headers.filter(([other]) => other === name).map(([, value]) => value)]),
  )
  const { method, authority, target: path } = call
  return {
    source: {
      ip: call.ip,
      remoteIp,
      ...(call.uri === undefined ? {} : { principal: call.uri.slice('spiffe://'.length) }),
    },
    destination: { namespace: 'shop', service: 'shop/web', ...call.destination },
    ...(isHttp ? { http: { method, authority, path, headers } } : {}),
    ...(isHttp && call.claims !== undefined ? { jwt: { payload: call.claims } } : {}),
    ...(isHttp || call.sni === undefined ? {} : { sni: call.sni }),
  }
}

function readVerdict(verdict: PolicyVerdict, path: string | undefined): Verdict {
  const { policy, rule, dryRun, trace } = verdict
  const byOf = (name: string | null, index: number | null): string | undefined =>
    name === null ? undefined : `${name}#${index}`
  const matched = (action: string): boolean =>
    trace.some(one => one.action === action && one.applies && one.matched && !one.dryRun)
  return {
    status: verdict.status ?? (verdict.verdict === 'allow' ? 200 : 0),
    by: byOf(policy, rule),
    path,
    audited: matched('AUDIT'),
    dryRun: dryRun.map(one =>
      [one.action, `${one.verdict === 'allow' ? 'allowed' : 'denied'}`, byOf(one.policy, one.rule) ?? '']
        .join(' ')
        .trim(),
    ),
    custom: matched('CUSTOM'),
  }
}
