/**
 * Istio's authorization in an Express application.
 * @packageDocumentation
 */
import type { Request, RequestHandler } from 'express'
import { answer } from '../http/respond.ts'
import { createMeshGuard, type MeshAuthOptions } from '../http/mesh-guard.ts'
import type { MeshPeer } from '../http/peer.ts'

export type { MeshAnswer } from '../http/answer.ts'
export type { MeshAuthOptions, MeshDenial } from '../http/mesh-guard.ts'
export type { MeshIdentity, MeshPeer } from '../http/peer.ts'

declare global {
  namespace Express {
    interface Request {
      /** The proven caller; absent in plaintext. Set by `meshAuth`. */
      peer?: MeshPeer | undefined
    }
  }
}

/**
 * `app.use(meshAuth(…))`, before any route. Where it is mounted under a path, a request whose path is not in its normal
 * form is refused: Express has chosen by what was sent.
 *
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` when one of `trustedWaypoints` is no SPIFFE ID.
 */
export function meshAuth(options: MeshAuthOptions): RequestHandler {
  const guard = createMeshGuard(options)
  return (request: Request, response, next) => {
    const isMounted = request.baseUrl !== ''
    const judgement = isMounted ? guard.judgeRouted(request) : guard.judge(request)
    request.peer = judgement.peer
    if (!judgement.allowed) return answer(response, judgement.answer)
    if (!judgement.isAsSent) request.url = judgement.path
    next()
  }
}
