/**
 * Room 7: the policies of this waypoint as they are now. A change compiles what changed; TCP connections that live are judged
 * again, and so are requests that became a connection. Other requests are judged one by one anyway.
 */
import type { Clock, Connection } from '@ambient/core'
import {
  createExpiryTimer,
  createWaypointPolicies,
  type CustomMatches,
  type CustomRequirement,
  type ExpiryTimer,
  type HttpRequestFacts,
  type MeshConfig,
  type ProviderState,
  requireProviders,
  type WaypointDecision,
  type WaypointDialect,
  type WaypointPolicies,
  withoutExpired,
} from '@ambient/policy'
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
  | { readonly allowed: true; readonly permit: Permit; readonly decision: WaypointDecision }
  | { readonly allowed: false; readonly denial: WaypointDecision }

/** What has been found out of a request before it is judged. */
export interface Proof {
  /** Providers of CUSTOM policies that said yes. */
  readonly asked: ReadonlySet<string>
  /** Claims of a token that was verified. */
  readonly jwt?: HttpRequestFacts['jwt']
  /** The request as it came to its token, where that has changed it: what decides whether a provider has to be asked. */
  readonly withToken?: RequestHead
}

export interface Guard {
  /** Which providers have to say yes first. */
  requirement(stream: InboundStream, head: RequestHead): CustomRequirement
  connectionRequirement(stream: InboundStream, connection: Connection): CustomRequirement
  /** A provider that is required and was not asked is a denial. */
  decideRequest(stream: InboundStream, head: RequestHead, proof?: Proof): WaypointDecision
  /** Registers first and decides then, so that a change between the two cannot slip by. */
  admit(stream: InboundStream, connection: Connection, proof?: Proof): Admission
  /** Likewise, for a request that becomes a connection (`101`): by its head, as it was judged. */
  admitRequest(stream: InboundStream, head: RequestHead, proof?: Proof): Admission
  /** Connections that are let in now. */
  readonly size: number
  close(): void
}

export function createGuard(options: {
  readonly config: Pick<WaypointConfig, 'gateway' | 'rootNamespace' | 'trustDomain' | 'severalProviders'>
  readonly store: ConfigStore
  readonly meshConfig: () => MeshConfig
  readonly stateOf: (provider: string, dialect: WaypointDialect) => ProviderState
  /** For policies with an end date. */
  readonly clock: Clock
}): Guard {
  return new LiveGuard(options)
}

type Judge = (target: WaypointTarget) => WaypointDecision

const noProof: Proof = Object.freeze({ asked: new Set<string>() })
const nobody: CustomRequirement = Object.freeze({ kind: 'none' })

class LiveGuard implements Guard {
  readonly #options: Parameters<typeof createGuard>[0]
  readonly #permits = new Map<
    Permit,
    { readonly service: WaypointTarget['service']; readonly judge: Judge }
  >()
  readonly #unwatch: () => void
  readonly #expiry: ExpiryTimer
  #source: ConfigStore['authorizationPolicies']
  #className: string
  #meshConfig: MeshConfig
  #policies: WaypointPolicies
  #targets = new Map<string, WaypointTarget>()

  constructor(options: Parameters<typeof createGuard>[0]) {
    this.#options = options
    this.#source = options.store.authorizationPolicies
    this.#meshConfig = options.meshConfig()
    this.#expiry = createExpiryTimer(options.clock, () => this.#renew())
    this.#policies = this.#compile()
    this.#className = this.#findClass()
    this.#unwatch = options.store.watch(() => this.#follow())
  }

  get size(): number {
    return this.#permits.size
  }

  requirement(stream: InboundStream, head: RequestHead): CustomRequirement {
    return this.#requirementOf(this.#targetOf(stream), stream, head)
  }

  connectionRequirement(stream: InboundStream, connection: Connection): CustomRequirement {
    return this.#required(this.#policies.customOfConnection(this.#targetOf(stream), connection), 'envoy-tcp')
  }

  decideRequest(stream: InboundStream, head: RequestHead, proof = noProof): WaypointDecision {
    return this.#judgeRequest(this.#targetOf(stream), stream, head, proof)
  }

  admit(stream: InboundStream, connection: Connection, { asked } = noProof): Admission {
    return this.#admit(stream, target => {
      const matches = this.#policies.customOfConnection(target, connection)
      const denial = unasked(this.#required(matches, 'envoy-tcp'), asked)
      return denial ?? this.#policies.decideConnection(target, connection, { custom: 'passed' })
    })
  }

  admitRequest(stream: InboundStream, head: RequestHead, proof = noProof): Admission {
    return this.#admit(stream, target => this.#judgeRequest(target, stream, head, proof))
  }

  close(): void {
    this.#unwatch()
    this.#expiry.close()
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
      return isAllowed ? { allowed: true, permit, decision } : { allowed: false, denial: decision }
    } finally {
      if (!isAllowed) permit.release()
    }
  }

  #judgeRequest(
    target: WaypointTarget,
    stream: InboundStream,
    head: RequestHead,
    { asked, jwt, withToken = head }: Proof,
  ): WaypointDecision {
    const denial = unasked(this.#requirementOf(target, stream, withToken), asked)
    return denial ?? this.#policies.decideRequest(target, factsOf(stream, head, jwt), 'passed')
  }

  #requirementOf(target: WaypointTarget, stream: InboundStream, head: RequestHead): CustomRequirement {
    return this.#required(this.#policies.customOfRequest(target, factsOf(stream, head)), 'envoy-http')
  }

  #required(matches: CustomMatches | undefined, dialect: WaypointDialect): CustomRequirement {
    if (matches === undefined) return nobody
    const { stateOf, config } = this.#options
    const { severalProviders } = config
    return requireProviders(matches, { stateOf: name => stateOf(name, dialect), severalProviders })
  }

  #follow(): void {
    const { store, meshConfig } = this.#options
    const className = this.#findClass()
    const mesh = meshConfig()
    const isSame =
      store.authorizationPolicies === this.#source &&
      className === this.#className &&
      mesh === this.#meshConfig
    if (isSame) return
    const isSameMesh = mesh === this.#meshConfig
    this.#source = store.authorizationPolicies
    this.#className = className
    this.#meshConfig = mesh
    if (!isSameMesh) this.#policies = this.#compile()
    this.#renew()
  }

  /** Other policies, or one that ended: whoever lives is judged again. */
  #renew(): void {
    this.#targets = new Map()
    // Only what changed is compiled.
    this.#policies.replace(this.#inForce())
    for (const [permit, { service, judge }] of [...this.#permits]) {
      const decision = judge(this.#target(service))
      if (!decision.allowed && this.#permits.delete(permit)) permit.onWithdrawn?.(decision)
    }
  }

  #compile(): WaypointPolicies {
    const { rootNamespace, trustDomain } = this.#options.config
    const { trustDomainAliases } = this.#meshConfig
    return createWaypointPolicies(this.#inForce(), { rootNamespace, trustDomain, trustDomainAliases })
  }

  #inForce(): ConfigStore['authorizationPolicies'] {
    this.#expiry.watch(this.#source)
    return withoutExpired(this.#source, this.#options.clock.now())
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

function factsOf(stream: InboundStream, head: RequestHead, jwt?: HttpRequestFacts['jwt']): HttpRequestFacts {
  return {
    connection: connectionOf(stream),
    method: head.method,
    path: head.path,
    authority: head.authority,
    header: name => head.headers.all(name),
    ...(jwt === undefined ? {} : { jwt }),
  }
}

/** Whom nobody has asked has not said yes: so it is for connections that live when a policy comes to ask for a provider. */
function unasked(required: CustomRequirement, asked: ReadonlySet<string>): WaypointDecision | undefined {
  if (required.kind === 'denied') return required.decision
  if (required.kind === 'none') return undefined
  const match = required.matches.find(({ provider }) => !asked.has(provider))
  if (match === undefined) return undefined
  const { by, provider } = match
  const reason = `CUSTOM policy ${by.policy}: the provider ${provider} has not been asked`
  return { allowed: false, reason, detail: 'ext_authz_error', by, considered: [] }
}
