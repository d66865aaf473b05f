/**
 * Who calls `CreateCertificate`, and for whom: by a static token, a projected service account token, or the certificate of
 * the connection. Fails closed: a token that is shown has to be good, whatever else the caller has.
 */
import { messageOf, readSpiffeId, type SpiffeId, systemClock, type Clock } from '@ambient/core'
import type { Revocations } from '../crl/revocations.ts'
import type { CertificateAuthority } from '../ca/authority.ts'
import { verifyLimits } from '../defaults.ts'
import { verifyPeerChain } from '../svid/verify.ts'
import { sameBytes } from '../x509/der.ts'
import { readPemCertificates } from '../x509/pem.ts'
import { type ProjectedTokens, projectedTokenReader } from './projected-tokens.ts'
import type { CaAuthorization, CaCall } from './service.ts'
import { hashOfToken, type TokenTable } from './token-file.ts'
import { checkOptions } from '../option-checks.ts'

/** What a caller has proven of itself. */
export interface Caller {
  /** Its own identity; absent for a node that is nothing else. */
  readonly id?: SpiffeId
  /** The node whose workloads it may ask for. */
  readonly node?: string
  /** The only workloads of that node, where its token says so. */
  readonly workloads?: readonly SpiffeId[]
}

export interface CallerAuthentication {
  /** Whose identities are asked for, and whose certificates callers may show. */
  readonly ca: Pick<CertificateAuthority, 'rootPem' | 'trustDomain'> & {
    readonly intermediates?: readonly string[]
    readonly formerIntermediates?: readonly string[]
    readonly revocations?: Revocations
    readonly refresh?: () => Promise<void>
  }
  /** Static tokens as they are now; see `createTokenFile`. */
  readonly tokens?: () => TokenTable | Promise<TokenTable>
  /** Service account tokens of Kubernetes. */
  readonly projectedTokens?: ProjectedTokens
  /** Whether a connection's certificate is enough to renew it. Default `true`. */
  readonly certificates?: boolean
  /** Whether a workload runs on a node now: what impersonation rests on. Without it only a token's own list counts. */
  readonly runsOn?: (node: string, id: SpiffeId) => boolean | Promise<boolean>
  readonly clock?: Clock
}

type Known = { readonly ok: true; readonly caller: Caller } | { readonly ok: false; readonly reason: string }

/** For `createCaService({ authorize })`. Its reasons are for the log; the service tells callers nothing of them. */
export function authenticateCallers(
  options: CallerAuthentication,
): (call: CaCall) => Promise<CaAuthorization> {
  checkOptions(options, { ca: 'trust' })
  const projected =
    options.projectedTokens === undefined
      ? undefined
      : projectedTokenReader(options.projectedTokens, options.ca.trustDomain, options.clock ?? systemClock)
  return async call => {
    const known =
      call.token === undefined
        ? await byCertificate(options, call)
        : await byToken(options, projected, call.token)
    return known.ok ? grant(options, known.caller, call.impersonated) : known
  }
}

async function byToken(
  { tokens }: CallerAuthentication,
  projected: ((token: string) => Promise<Caller>) | undefined,
  token: string,
): Promise<Known> {
  const table = await tokens?.()
  const caller = table?.get(hashOfToken(token))
  if (caller !== undefined) return { ok: true, caller }
  if (projected === undefined) return { ok: false, reason: 'the token is not among those that are known' }
  try {
    return { ok: true, caller: await projected(token) }
  } catch (error) {
    return { ok: false, reason: `the token is not believed: ${messageOf(error)}` }
  }
}

async function byCertificate(
  { ca, certificates = true, clock = systemClock }: CallerAuthentication,
  call: CaCall,
): Promise<Known> {
  const { certificate, issuers = [] } = call
  if (!certificates || certificate === undefined)
    return { ok: false, reason: `no token${certificates ? ' and no certificate' : ''} was shown` }
  // What another process has revoked counts from now on.
  await ca.refresh?.()
  // The caller has the intermediate of its time; what it left out, or the platform did not show, may be ours.
  const known = [...(ca.intermediates ?? []), ...(ca.formerIntermediates ?? [])]
  const own = known.flatMap(pem => readPemCertificates(pem))
  const above = [...issuers, ...own.filter(der => !issuers.some(issuer => sameBytes(issuer, der)))]
  const verdict = verifyPeerChain({
    chain: [certificate, ...above].slice(0, verifyLimits.maxPathLength),
    trustBundle: ca.rootPem,
    ownTrustDomain: ca.trustDomain,
    ...(ca.revocations === undefined ? {} : { revocations: ca.revocations }),
    expect: { kind: 'own-trust-domain' },
    now: clock.now(),
  })
  return verdict.ok
    ? { ok: true, caller: { id: verdict.id } }
    : { ok: false, reason: `the caller's certificate is not believed: ${verdict.reason}` }
}

/** A workload asks for itself, a node for what runs on it. */
async function grant(
  { ca, runsOn }: CallerAuthentication,
  { id, node, workloads }: Caller,
  impersonated: string | undefined,
): Promise<CaAuthorization> {
  if (impersonated === undefined || impersonated === id?.uri)
    return id === undefined
      ? { ok: false, reason: `node ${node} has no identity of its own` }
      : { ok: true, id }
  const wanted = readSpiffeId(impersonated)
  if (!wanted.ok) return { ok: false, reason: `impersonated identity: ${wanted.reason}` }
  const who = id?.uri ?? `node ${node}`
  const refused = { ok: false as const, reason: `${who} may not ask for ${wanted.id.uri}` }
  if (node === undefined || wanted.id.trustDomain !== ca.trustDomain) return refused
  const runs =
    workloads?.some(({ uri }) => uri === wanted.id.uri) ?? (await runsOn?.(node, wanted.id)) ?? false
  return runs ? wanted : { ok: false, reason: `${refused.reason}: it does not run on ${node}` }
}
