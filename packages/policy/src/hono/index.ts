/**
 * Istio's authorization in a Hono application on Node (`@hono/node-server`).
 * @packageDocumentation
 */
import type { MiddlewareHandler } from 'hono'
import type { IncomingRequest } from '../http/incoming.ts'
import { createMeshGuard, type MeshAuthOptions } from '../http/mesh-guard.ts'
import type { MeshPeer } from '../http/peer.ts'

export type { MeshAnswer } from '../http/answer.ts'
export type { MeshAuthOptions, MeshDenial } from '../http/mesh-guard.ts'
export type { MeshIdentity, MeshPeer } from '../http/peer.ts'

/** What a handler behind it sees: `c.get('peer')`, `c.env.incoming`. */
export interface MeshEnv {
  Bindings: { incoming: IncomingRequest }
  Variables: {
    /** The proven caller; `undefined` in plaintext. */
    peer: MeshPeer | undefined
  }
}

/**
 * `app.use(meshAuth(…))`, before any route. A request whose path is not in its normal form is refused, with
 * `pathNormalization: 'NONE'` too: Hono has chosen its route by what it resolved and decoded of the path.
 *
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` when one of `trustedWaypoints` is no SPIFFE ID.
 */
export function meshAuth(options: MeshAuthOptions): MiddlewareHandler<MeshEnv> {
  const guard = createMeshGuard(options)
  return async (context, next) => {
    const judgement = guard.judgeRouted(context.env.incoming, 'decoded')
    context.set('peer', judgement.peer)
    if (judgement.allowed) return next()
    const { status, headers, body } = judgement.answer
    return new Response(body === '' ? null : body, { status, headers })
  }
}
