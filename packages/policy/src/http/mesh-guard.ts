/** One request of an application judged: the peer, the verdict, the answer to a refused caller, one decision event. */
import {
  type Connection,
  type PolicyDecisionMessage,
  parseSpiffeId,
  type SpiffeId,
  topics,
} from '@ambient/core'
import { answerOf, type MeshAnswer } from './answer.ts'
import {
  type Incoming,
  type IncomingRequest,
  type OwnWorkload,
  policyRequestOf,
  readIncoming,
} from './incoming.ts'
import { callerOf, type MeshPeer, type PeerOptions } from './peer.ts'
import { defaults } from '../defaults.ts'
import { createEvaluator } from '../evaluator/create-evaluator.ts'
import type { EvaluatorDocuments, EvaluatorOptions, PolicyEvaluator } from '../evaluator/policy-evaluator.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { Enforcer, PolicyVerdict } from '../evaluator/verdict.ts'
import { normalizePath } from '../waypoint/normalize-path.ts'

export interface MeshAuthOptions extends Omit<EvaluatorOptions, 'dialect'> {
  /** What `parsePolicies` gives, or a function of it: asked per request, so that policies may change. */
  readonly policy: EvaluatorDocuments | (() => EvaluatorDocuments)
  /** Whose policies apply: this application's workload. */
  readonly workload: OwnWorkload
  /** Who enforces. Default: a sidecar of the workload. */
  readonly enforcer?: Enforcer
  /**
   * Identities (`spiffe://…`) whose `x-forwarded-client-cert` counts, when the connection proves one of them. From
   * anybody else the header is ignored. Default: none.
   */
  readonly trustedWaypoints?: readonly string[]
  /** The verified token of a request, if the application has verified one. */
  readonly jwt?: (request: IncomingRequest) => PolicyRequest['jwt'] | undefined
  /** Default: `envoy`. */
  readonly answer?: 'envoy' | 'problem'
  /** Of `problem`. Default: `code`, as production should have it. */
  readonly detail?: 'code' | 'full'
  /** Hears of each denial; what it returns is the answer instead. */
  readonly onDeny?: (denial: MeshDenial) => MeshAnswer | undefined
}

export interface MeshDenial {
  readonly verdict: PolicyVerdict
  readonly peer: MeshPeer | undefined
  readonly request: PolicyRequest
  /** What the caller is told by default. */
  readonly answer: MeshAnswer
}

export type MeshJudgement =
  | {
      readonly allowed: true
      readonly peer: MeshPeer | undefined
      readonly verdict: PolicyVerdict
      /**
       * As it was judged. Where it differs from what was sent the application has to look at this one, as it would
       * behind a proxy.
       */
      readonly path: string
      readonly isAsSent: boolean
    }
  | { readonly allowed: false; readonly peer: MeshPeer | undefined; readonly answer: MeshAnswer }

export interface MeshGuard {
  judge(request: IncomingRequest): MeshJudgement
  /**
   * For servers that have chosen a handler by the path: by the text that was sent, or by what they resolved and decoded of
   * it. A path that is not in its normal form is refused; where they decode, also with `pathNormalization: 'NONE'`.
   */
  judgeRouted(request: IncomingRequest, routedBy?: 'text' | 'decoded'): MeshJudgement
}

/** @throws CoreError `AMBIENT_E_SPIFFE_ID` when one of `trustedWaypoints` is no SPIFFE ID. */
export function createMeshGuard(options: MeshAuthOptions): MeshGuard {
  const settings = resolve(options)
  const evaluatorOf = latestEvaluator(options)
  const judge = (request: IncomingRequest): MeshJudgement => {
    const incoming = readIncoming(request)
    const forwarded = incoming.headers['x-forwarded-client-cert']?.join(',')
    const { peer, judged } = callerOf(request.socket, forwarded, settings)
    const jwt = options.jwt?.(request)
    const asked = {
      ...policyRequestOf(request, incoming, judged, options.workload),
      ...(jwt === undefined ? {} : { jwt }),
    }
    const verdict = incoming.isOfTwoHosts ? ofTwoHosts : evaluatorOf().decide(asked, settings.enforcer)
    publish(request, asked, judged, verdict)
    if (verdict.verdict === 'deny') return refuse({ verdict, peer, request: asked }, incoming, options)
    const normalized = normalizePath(incoming.path, settings.pathNormalization)
    const path = normalized.ok ? normalized.path : incoming.path
    return { allowed: true, peer, verdict, path, isAsSent: path === incoming.path }
  }
  return {
    judge,
    judgeRouted(request, routedBy = 'text') {
      const judgement = judge(request)
      if (!judgement.allowed) return judgement
      const { isAsSent, path, peer, verdict } = judgement
      if (isAsSent && (routedBy === 'text' || isNormal(path))) return judgement
      return { allowed: false, peer, answer: notNormal(verdict, readIncoming(request), options) }
    },
  }
}

interface Settings extends PeerOptions {
  readonly enforcer: Enforcer
  readonly pathNormalization: NonNullable<EvaluatorOptions['pathNormalization']>
}

function resolve(options: MeshAuthOptions): Settings {
  const { workload, enforcer, trustedWaypoints = [], trustDomainAliases = [] } = options
  const { namespace, name, labels } = workload
  const sidecar: Enforcer = {
    kind: 'workload',
    namespace,
    ...(name === undefined ? {} : { name }),
    ...(labels === undefined ? {} : { labels }),
  }
  return Object.freeze({
    enforcer: enforcer ?? sidecar,
    pathNormalization: options.pathNormalization ?? defaults.pathNormalization,
    trustDomains: [options.trustDomain ?? defaults.trustDomain, ...trustDomainAliases],
    trustedWaypoints: new Set(trustedWaypoints.map(text => parseSpiffeId(text).uri)),
  })
}

/** Compiled again when the documents are another object. */
function latestEvaluator(options: MeshAuthOptions): () => PolicyEvaluator {
  const { policy } = options
  let documents = typeof policy === 'function' ? policy() : policy
  let evaluator = createEvaluator(asItArrives(documents), { ...options, dialect: 'envoy-http' })
  return () => {
    const now = typeof policy === 'function' ? policy() : policy
    if (now === documents) return evaluator
    documents = now
    evaluator = createEvaluator(asItArrives(now), { ...options, dialect: 'envoy-http' })
    return evaluator
  }
}

/** No filter before an application takes tokens out or sets headers: what it reads is what is judged. */
function asItArrives(documents: EvaluatorDocuments): EvaluatorDocuments {
  const { requestAuthentications = [] } = documents
  return {
    ...documents,
    requestAuthentications: requestAuthentications.map(({ spec, ...policy }) => ({
      ...policy,
      spec: {
        ...spec,
        jwtRules: (spec.jwtRules ?? []).map(
          ({ outputClaimToHeaders: _claims, outputPayloadToHeader: _payload, ...rule }) => ({
            ...rule,
            forwardOriginalToken: true,
          }),
        ),
      },
    })),
  }
}

function refuse(
  denial: Omit<MeshDenial, 'answer'>,
  incoming: Incoming,
  options: MeshAuthOptions,
): Extract<MeshJudgement, { allowed: false }> {
  const answer = answerOf(denial.verdict, incoming.headers['content-type']?.[0], {
    answer: options.answer ?? 'envoy',
    detail: options.detail ?? 'code',
  })
  return { allowed: false, peer: denial.peer, answer: options.onDeny?.({ ...denial, answer }) ?? answer }
}

/** Policies would judge one host, and the application perhaps answer for the other. */
const ofTwoHosts: PolicyVerdict = Object.freeze({
  verdict: 'deny',
  action: 'default',
  policy: null,
  rule: null,
  reason: 'the request names two hosts, or a user in its host',
  dialect: 'envoy-http',
  status: 400,
  dryRun: [],
  trace: [],
})

/** Whether resolving dots and decoding leaves the path as it is. */
function isNormal(path: string): boolean {
  const normalized = normalizePath(path, 'BASE')
  return normalized.ok && normalized.path === path
}

/** What was judged is not what the chosen handler is for. */
function notNormal(verdict: PolicyVerdict, incoming: Incoming, options: MeshAuthOptions): MeshAnswer {
  const reason = 'the path is not in its normal form, and a handler was chosen by what was sent'
  return answerOf(
    { ...verdict, verdict: 'deny', reason, status: 400 },
    incoming.headers['content-type']?.[0],
    {
      answer: options.answer ?? 'envoy',
      detail: options.detail ?? 'code',
    },
  )
}

function publish(
  { socket }: IncomingRequest,
  { source, destination, http }: PolicyRequest,
  caller: SpiffeId | undefined,
  verdict: PolicyVerdict,
): void {
  if (!topics.decision.hasSubscribers) return
  const connection: Connection = {
    id: traceIdOf(http?.headers?.['traceparent']?.[0]),
    direction: 'inbound',
    source: {
      address: source.ip ?? '',
      port: socket.remotePort ?? 0,
      ...(caller === undefined ? {} : { identity: caller }),
    },
    destination: { address: destination.ip ?? '', port: destination.port, network: '' },
  }
  const { reason, policy, rule } = verdict
  const message: PolicyDecisionMessage = {
    connection,
    allowed: verdict.verdict === 'allow',
    reason,
    ...(policy === null ? {} : { policy }),
    ...(rule === null ? {} : { rule }),
  }
  topics.decision.publish(message)
}

const TRACE_ID_BYTES = 16

/** W3C Trace Context; our own where the caller sends none. */
function traceIdOf(traceparent: string | undefined): string {
  const sent = /^[\da-f]{2}-([\da-f]{32})-/.exec(traceparent ?? '')?.[1]
  if (sent !== undefined) return sent
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(TRACE_ID_BYTES))
  return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('')
}
