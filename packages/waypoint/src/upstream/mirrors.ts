/** Copies of requests for mirrors: sent beside the request, bounded in number, time and memory; nobody waits for them. */
import { PassThrough } from 'node:stream'
import type { Clock } from '@ambient/core'
import type { HeaderFields } from '../http/header-fields.ts'
import { upstreamLimits } from '../limits.ts'
import type { ClusterRef } from '../route/ir.ts'
import { discard } from './discard.ts'
import type { EndpointChooser } from './endpoints.ts'
import { endToEnd } from './fields.ts'
import type { DispatchOrder } from './order.ts'
import { type BodyObserver, RequestBody } from './request-body.ts'
import type { Upstreams } from './upstreams.ts'

export interface MirrorsContext {
  readonly clock: Clock
  readonly chooser: EndpointChooser
  readonly upstreams: Upstreams
}

export class Mirrors {
  readonly #context: MirrorsContext
  readonly #controllers = new Set<AbortController>()

  constructor(context: MirrorsContext) {
    this.#context = context
  }

  /** Sends a copy to each of the order's mirrors; what cannot be sent is dropped. */
  send(order: DispatchOrder, body: RequestBody): void {
    // An upgraded connection is a conversation, of which a copy makes no sense.
    if (order.request.upgrade !== undefined) return
    for (const { cluster } of order.mirrors)
      if (this.#controllers.size < upstreamLimits.maxMirrors) void this.#copy(cluster, order, body)
  }

  cut(): void {
    for (const controller of [...this.#controllers]) controller.abort(new Error('the dispatcher is closed'))
  }

  async #copy(cluster: ClusterRef, order: DispatchOrder, body: RequestBody): Promise<void> {
    const { clock, chooser, upstreams } = this.#context
    const chosen = chooser.choose(cluster, new Set())
    if (chosen === undefined) return
    const controller = new AbortController()
    this.#controllers.add(controller)
    const timer = clock.after(upstreamLimits.mirrorMs, () => controller.abort(new Error('mirror timeout')))
    const onOver = (): void => {
      timer.cancel()
      // Whatever is still to come of the body is for nobody.
      controller.abort(new Error('the copy is over'))
      chosen.release()
      this.#controllers.delete(controller)
    }
    const outcome = await upstreams.send({
      cluster,
      endpoint: chosen.endpoint,
      protocol: order.protocol,
      traceparent: order.traceparent,
      head: order.request,
      fields: endToEnd(order.request.headers),
      callerProtocol: order.request.protocol,
      body: copyOf(body, controller),
      upgrade: undefined,
      signal: controller.signal,
      onOver,
    })
    if (outcome.kind === 'failed') onOver()
    else discard(outcome.response, clock)
  }
}

/** What passes to the upstream, once more; a target that takes it too slowly loses it. */
function copyOf(body: RequestBody, controller: AbortController): RequestBody {
  let trailers: HeaderFields | undefined
  const source = body.isEmpty ? undefined : new PassThrough()
  if (source !== undefined) {
    source.on('error', () => {})
    const observer: BodyObserver = {
      data(bytes) {
        source.write(bytes)
        if (source.writableLength > upstreamLimits.mirrorBacklogBytes)
          controller.abort(new Error('the mirror is too slow'))
      },
      end(last) {
        trailers = last
        source.end()
      },
      cut: () => controller.abort(new Error('the request was cut')),
    }
    body.observe(observer)
    controller.signal.addEventListener('abort', () => body.ignore(observer))
  }
  return new RequestBody({
    source,
    trailers: () => trailers,
    replayBytes: 0,
    onComplete: () => {},
    onCut: () => {},
  })
}
