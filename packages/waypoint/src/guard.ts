/**
 * Room 7: the policies of this waypoint as they are now. A change makes them anew; TCP connections that live are judged
 * again, and so are requests that became a connection. Other requests are judged one by one anyway.
 */
import type { Connection } from '@ambient/core'
import { createWaypointPolicies, type WaypointDecision, type WaypointPolicies } from '@ambient/policy'
import type { ConfigStore } from '@ambient/discovery'
import type { WaypointConfig } from './config/config.ts'
import { connectionOf } from './connection.ts'
import { defaults } from './defaults.ts'
import { findGateway } from './gateway.ts'
import type { RequestHead } from './http/message.ts'
import type { InboundStream } from './stream.ts'

type WaypointTarget = Parameters<WaypointPolicies['decideRequest']>[0]

/** A connection that was let in. `release` it when it ends. */
export interface Permit {
  /** Called at most once, when a later policy no longer allows the connection. */
  onWithdrawn: ((denial: WaypointDecision) => void) | undefined
  release(): void
}

export type Admission =
  | { readonly allowed: true; readonly permit: Permit }
  | { readonly allowed: false; readonly denial: WaypointDecision }

export interface Guard {
  decideRequest(stream: InboundStream, head: RequestHead): WaypointDecision
  /** Registers first and decides then, so that a change between the two cannot slip by. */
  admit(stream: InboundStream, connection: Connection): Admission
  /** Likewise, for a request that becomes a connection (`101`): by its head, as it was judged. */
  admitRequest(stream: InboundStream, head: RequestHead): Admission
  /** Connections that are let in now. */
  readonly size: number
  close(): void
}

export function createGuard(options: {
  readonly config: Pick<WaypointConfig, 'gateway' | 'rootNamespace' | 'trustDomain'>
  readonly store: ConfigStore
}): Guard {
  return new LiveGuard(options)
}

type Judge = (target: WaypointTarget) => WaypointDecision

class LiveGuard implements Guard {
  readonly #options: Parameters<typeof createGuard>[0]
  readonly #permits = new Map<
    Permit,
    { readonly service: WaypointTarget['service']; readonly judge: Judge }
  >()
  readonly #unwatch: () => void
  #source: ConfigStore['authorizationPolicies']
  #className: string
  #policies: WaypointPolicies
  #targets = new Map<string, WaypointTarget>()

  constructor(options: Parameters<typeof createGuard>[0]) {
    this.#options = options
    this.#source = options.store.authorizationPolicies
    this.#policies = this.#compile()
    this.#className = this.#findClass()
    this.#unwatch = options.store.watch(() => this.#follow())
  }

  get size(): number {
    return this.#permits.size
  }

  decideRequest(stream: InboundStream, head: RequestHead): WaypointDecision {
    return this.#judgeRequest(this.#targetOf(stream), stream, head)
  }

  admit(stream: InboundStream, connection: Connection): Admission {
    return this.#admit(stream, target => this.#policies.decideConnection(target, connection))
  }

  admitRequest(stream: InboundStream, head: RequestHead): Admission {
    return this.#admit(stream, target => this.#judgeRequest(target, stream, head))
  }

  close(): void {
    this.#unwatch()
    this.#permits.clear()
  }

  #admit(stream: InboundStream, judge: Judge): Admission {
    const target = this.#targetOf(stream)
    const permit: Permit = {
      onWithdrawn: undefined,
      release: () => void this.#permits.delete(permit),
    }
    this.#permits.set(permit, { service: target.service, judge })
    let isAllowed = false
    try {
      const decision = judge(target)
      isAllowed = decision.allowed
      return isAllowed ? { allowed: true, permit } : { allowed: false, denial: decision }
    } finally {
      if (!isAllowed) permit.release()
    }
  }

  #judgeRequest(target: WaypointTarget, stream: InboundStream, head: RequestHead): WaypointDecision {
    return this.#policies.decideRequest(target, {
      connection: connectionOf(stream),
      method: head.method,
      path: head.path,
      authority: head.authority,
      header: name => head.headers.all(name),
    })
  }

  #follow(): void {
    const { store } = this.#options
    const className = this.#findClass()
    if (store.authorizationPolicies === this.#source && className === this.#className) return
    this.#source = store.authorizationPolicies
    this.#className = className
    this.#targets = new Map()
    this.#policies = this.#compile()
    for (const [permit, { service, judge }] of [...this.#permits]) {
      const decision = judge(this.#target(service))
      if (!decision.allowed && this.#permits.delete(permit)) permit.onWithdrawn?.(decision)
    }
  }

  #compile(): WaypointPolicies {
    const { rootNamespace, trustDomain } = this.#options.config
    return createWaypointPolicies(this.#source, { rootNamespace, trustDomain })
  }

  #findClass(): string {
    const own = findGateway(this.#options.store, this.#options.config.gateway)
    return own?.spec.className ?? defaults.gatewayClass
  }

  #targetOf({ target }: InboundStream): WaypointTarget {
    return this.#target(target.kind === 'service' ? target.service : undefined)
  }

  /** One object per service: what is compiled for it is found by it. */
  #target(service: WaypointTarget['service']): WaypointTarget {
    const key = service === undefined ? '' : `${service.namespace}/${service.hostname}`
    const known = this.#targets.get(key)
    if (known !== undefined) return known
    const target: WaypointTarget = {
      gateway: { ...this.#options.config.gateway, className: this.#className },
      ...(service === undefined
        ? {}
        : { service: { namespace: service.namespace, name: service.name, hostname: service.hostname } }),
    }
    this.#targets.set(key, target)
    return target
  }
}
