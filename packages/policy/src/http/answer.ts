/** What a refused caller is told. */
import type { PolicyVerdict } from '../evaluator/verdict.ts'

export interface MeshAnswer {
  readonly status: number
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface AnswerOptions {
  /** `envoy`: its text. `problem`: `application/problem+json` (RFC 9457). gRPC callers get a gRPC status either way. */
  readonly answer: 'envoy' | 'problem'
  /** Of a problem: `code` says nothing of policies, `full` names policy, rule and reason. */
  readonly detail: 'code' | 'full'
}

const DENIED = 'RBAC: access denied'
const GRPC_INTERNAL = '13'
const GRPC_PERMISSION_DENIED = '7'
const BAD_REQUEST = 400

export function answerOf(
  verdict: PolicyVerdict,
  contentType: string | undefined,
  options: AnswerOptions,
): MeshAnswer {
  const isBadPath = verdict.status === BAD_REQUEST
  if (isGrpc(contentType)) return grpcAnswer(isBadPath)
  if (options.answer === 'problem') return problemAnswer(verdict, isBadPath, options.detail)
  const body = isBadPath ? '' : DENIED
  return {
    status: isBadPath ? BAD_REQUEST : 403,
    headers: { ...(body === '' ? {} : { 'content-type': 'text/plain' }), ...lengthOf(body) },
    body,
  }
}

function isGrpc(contentType: string | undefined): boolean {
  return /^application\/grpc($|[+;])/i.test(contentType ?? '')
}

/** Trailers and headers at once: gRPC's answer without a message. */
function grpcAnswer(isBadPath: boolean): MeshAnswer {
  return {
    status: 200,
    headers: {
      'content-type': 'application/grpc',
      'grpc-status': isBadPath ? GRPC_INTERNAL : GRPC_PERMISSION_DENIED,
      ...(isBadPath ? {} : { 'grpc-message': DENIED }),
    },
    body: '',
  }
}

function problemAnswer(
  verdict: PolicyVerdict,
  isBadPath: boolean,
  detail: AnswerOptions['detail'],
): MeshAnswer {
  const status = isBadPath ? BAD_REQUEST : 403
  const { reason, policy, rule } = verdict
  const body = JSON.stringify({
    type: 'about:blank',
    title: isBadPath ? 'Bad Request' : 'Forbidden',
    status,
    code: isBadPath ? 'bad_path' : 'access_denied',
    ...(detail === 'full' ? { detail: reason, policy, rule } : {}),
  })
  return { status, headers: { 'content-type': 'application/problem+json', ...lengthOf(body) }, body }
}

function lengthOf(body: string): Readonly<Record<string, string>> {
  return { 'content-length': String(new TextEncoder().encode(body).length) }
}
