/**
 * Istio's authorization in a Fastify application.
 * @packageDocumentation
 */
import type { FastifyInstance, FastifyPluginCallback } from 'fastify'
import { createMeshGuard, type MeshAuthOptions } from '../http/mesh-guard.ts'
import type { MeshPeer } from '../http/peer.ts'

export type { MeshAnswer } from '../http/answer.ts'
export type { MeshAuthOptions, MeshDenial } from '../http/mesh-guard.ts'
export type { MeshIdentity, MeshPeer } from '../http/peer.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The proven caller; `undefined` in plaintext. Set by `meshAuth`. */
    peer: MeshPeer | undefined
  }
}

/**
 * `app.register(meshAuth(…))`: holds for every route of the instance that it is registered in. A request whose path is not
 * in its normal form is refused, with `pathNormalization: 'NONE'` too: Fastify has chosen its route by what it decoded of
 * the path.
 *
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` when one of `trustedWaypoints` is no SPIFFE ID.
 */
export function meshAuth(options: MeshAuthOptions): FastifyPluginCallback {
  const guard = createMeshGuard(options)
  const plugin = (app: FastifyInstance, _: unknown, done: () => void): void => {
    app.decorateRequest('peer', undefined)
    app.addHook('onRequest', (request, reply, next) => {
      const judgement = guard.judgeRouted(request.raw, 'decoded')
      request.peer = judgement.peer
      if (judgement.allowed) return next()
      const { status, headers, body } = judgement.answer
      // A text that Fastify would serialize is sent as it is.
      reply.code(status).headers(headers).serializer(String).send(body)
    })
    done()
  }
  // What `fastify-plugin` sets: the hook is of the instance that registers it, not of a scope of its own.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true })
}
