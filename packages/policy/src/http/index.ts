/**
 * Istio's authorization in an application: for `node:http`, `node:https` and `node:http2`.
 * @packageDocumentation
 */
import { answer } from './respond.ts'
import { createMeshGuard, type MeshAuthOptions } from './mesh-guard.ts'
import type { NodeRequest, NodeResponse } from './respond.ts'

export type { MeshAnswer } from './answer.ts'
export type { IncomingRequest, IncomingSocket, OwnWorkload } from './incoming.ts'
export {
  createMeshGuard,
  type MeshAuthOptions,
  type MeshDenial,
  type MeshGuard,
  type MeshJudgement,
} from './mesh-guard.ts'
export type { MeshIdentity, MeshPeer } from './peer.ts'
export type { NodeRequest, NodeResponse } from './respond.ts'

/**
 * A function in front of a handler: judges the request, sets its `peer` and its path as it was judged, and goes on or
 * answers.
 *
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` when one of `trustedWaypoints` is no SPIFFE ID.
 */
export function meshAuth(
  options: MeshAuthOptions,
): (request: NodeRequest, response: NodeResponse, next: () => void) => void {
  const guard = createMeshGuard(options)
  return (request, response, next) => {
    const judgement = guard.judge(request)
    request.peer = judgement.peer
    if (!judgement.allowed) return answer(response, judgement.answer)
    if (!judgement.isAsSent) request.url = judgement.path
    next()
  }
}
