/** The embedded control plane: discovery (delta ADS) and certificates (Istio's CA) on one TLS port, as istiod. */
import { createHash, randomBytes } from 'node:crypto'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import {
  formatHostPort,
  type Logger,
  readSpiffeId,
  workloadIdentityOf,
  workloadSpiffeId,
} from '@ambient/core'
import {
  ADDRESS_TYPE,
  adsServerOptions,
  type AdsAuthorization,
  type AdsCaller,
  type AdsService,
  type AmbientState,
  AUTHORIZATION_TYPE,
  type ClientStatus,
  createAdsService,
  type PublishResult,
} from '@ambient/discovery'
import {
  type CaAuthorization,
  type CaCall,
  type CertificateAuthority,
  createCaService,
} from '@ambient/identity'
import { CONTROL_PLANE_PORT } from '../defaults.ts'
import { MeshError } from '../errors.ts'

/** Names that proxies may know the control plane by. */
const DNS_NAMES = ['istiod.istio-system.svc', 'istiod.istio-system.svc.cluster.local', 'localhost']
/** What every proxy subscribes to. */
const NEEDED = [ADDRESS_TYPE, AUTHORIZATION_TYPE] as const

export interface ControlPlaneOptions {
  readonly address: string
  readonly ca: CertificateAuthority
  readonly clusterId: string
  readonly logger: Logger
  /** Whether a pod with this namespace and service account is placed on a node: what impersonation rests on. */
  readonly runsOn: (node: string, namespace: string, serviceAccount: string) => boolean
  readonly onRefused: (node: string | undefined, reason: string) => void
}

/** For whom a token speaks: the workloads of a node, or one workload and nobody else. */
export type TokenOwner =
  | { readonly kind: 'node'; readonly node: string }
  | {
      readonly kind: 'workload'
      readonly namespace: string
      readonly serviceAccount: string
      readonly pod: string
    }

export interface ControlPlane {
  /** `https://IP:15012`. */
  readonly url: string
  /** A new secret that lets its bearer speak for its owner, until the next one for the same owner. */
  issueToken(owner: TokenOwner): string
  /** The owner's token is worth nothing any more. */
  revokeToken(owner: TokenOwner): void
  start(): Promise<void>
  publish(state: AmbientState): void
  clients(): readonly ClientStatus[]
  /** Of what was published last, by type URL. */
  readonly versions: PublishResult['versions']
  /** Resolves when so many clients are connected and all have acknowledged what was last published. */
  synced(clients: number, signal?: AbortSignal): Promise<void>
  close(): Promise<void>
}

export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  return new EmbeddedControlPlane(options)
}

class EmbeddedControlPlane implements ControlPlane {
  readonly #options: ControlPlaneOptions
  /** Hash of a token to its owner: a look-up takes as long for a near miss as for a far one. */
  readonly #owners = new Map<string, TokenOwner>()
  readonly #ads: AdsService
  readonly #server = new Server({ ...adsServerOptions })
  #versions: PublishResult['versions'] = new Map()

  constructor(options: ControlPlaneOptions) {
    this.#options = options
    const { logger } = options
    this.#ads = createAdsService({
      logger,
      authorize: caller => this.#authorizeDiscovery(caller),
    })
    this.#ads.addTo(this.#server)
    createCaService({ ca: options.ca, logger, authorize: call => this.#authorizeSigning(call) }).addTo(
      this.#server,
    )
  }

  get url(): string {
    return `https://${formatHostPort(this.#options.address, CONTROL_PLANE_PORT)}`
  }

  issueToken(owner: TokenOwner): string {
    this.revokeToken(owner)
    const token = randomBytes(32).toString('base64url')
    this.#owners.set(hashOf(token), owner)
    return token
  }

  revokeToken(owner: TokenOwner): void {
    const name = nameOf(owner)
    for (const [hash, other] of this.#owners) if (nameOf(other) === name) this.#owners.delete(hash)
  }

  async start(): Promise<void> {
    const { ca, address } = this.#options
    const certificate = await ca.issueServerCertificate({ dnsNames: DNS_NAMES, ipAddresses: [address] })
    const credentials = ServerCredentials.createSsl(
      null,
      [
        {
          cert_chain: Buffer.from(certificate.certificateChain),
          private_key: Buffer.from(certificate.privateKey),
        },
      ],
      false,
    )
    await new Promise<void>((resolve, reject) => {
      this.#server.bindAsync(formatHostPort(address, CONTROL_PLANE_PORT), credentials, cause => {
        if (cause === null) return resolve()
        const message = `the control plane cannot listen on ${address}:${CONTROL_PLANE_PORT}`
        reject(new MeshError('AMBIENT_E_MESH_PORT_IN_USE', message, { cause }))
      })
    })
  }

  publish(state: AmbientState): void {
    this.#versions = this.#ads.publish(state).versions
  }

  get versions(): PublishResult['versions'] {
    return this.#versions
  }

  clients(): readonly ClientStatus[] {
    return this.#ads.clients()
  }

  async synced(clients: number, signal?: AbortSignal): Promise<void> {
    let unwatch = (): void => {}
    try {
      await new Promise<void>((resolve, reject) => {
        const look = (): void => {
          if (this.#isSynced(clients)) resolve()
        }
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
        unwatch = this.#ads.watchClients(look)
        look()
      })
    } finally {
      unwatch()
    }
  }

  close(): Promise<void> {
    this.#ads.close()
    return new Promise(resolve => {
      this.#server.tryShutdown(() => resolve())
      this.#server.forceShutdown()
      // A server that was never bound calls back as well; this is for one whose sessions are already gone.
      setImmediate(resolve)
    })
  }

  /** Whoever bears a token may say that it is the token's owner, and nothing else. */
  #authorizeDiscovery({ token, node }: AdsCaller): AdsAuthorization {
    const owner = this.#ownerOf(token)
    if (owner === undefined) return this.#refuse(undefined, 'discovery: the token is unknown')
    const name = nameOf(owner)
    const claimed = node.metadata[owner.kind === 'node' ? 'NODE_NAME' : 'NAME']
    if (claimed === undefined || claimed === (owner.kind === 'node' ? owner.node : owner.pod))
      return { ok: true }
    return this.#refuse(name, `discovery: the token of ${name} was used for ${String(claimed)}`)
  }

  /**
   * A node's proxy may speak for the workloads of its node, and for nobody else; not for itself either. A workload
   * speaks for itself only.
   */
  #authorizeSigning(call: CaCall): CaAuthorization {
    const owner = this.#ownerOf(call.token)
    if (owner === undefined) return this.#refuse(undefined, 'certificates: the token is unknown')
    const name = nameOf(owner)
    if (call.clusterId !== this.#options.clusterId)
      return this.#refuse(name, `certificates: cluster ${call.clusterId ?? 'unnamed'} is not ours`)
    if (owner.kind === 'node') return this.#authorizeNode(owner.node, call.impersonated)
    if (call.impersonated !== undefined)
      return this.#refuse(name, `certificates: ${name} may not speak for ${call.impersonated.slice(0, 200)}`)
    const { trustDomain } = this.#options.ca
    return { ok: true, id: workloadSpiffeId({ trustDomain, ...owner }) }
  }

  #authorizeNode(node: string, impersonated: string | undefined): CaAuthorization {
    if (impersonated === undefined)
      return this.#refuse(node, 'certificates: a node has no identity of its own')
    const id = readSpiffeId(impersonated)
    const workload = id.ok ? workloadIdentityOf(id.id) : undefined
    // istiod does not look at the trust domain here; a foreign one would be signed by our root.
    if (!id.ok || workload === undefined || workload.trustDomain !== this.#options.ca.trustDomain)
      return this.#refuse(node, `certificates: ${impersonated.slice(0, 200)} is not of this mesh`)
    if (!this.#options.runsOn(node, workload.namespace, workload.serviceAccount))
      return this.#refuse(node, `certificates: no pod of ${node} runs as ${id.id.uri}`)
    return { ok: true, id: id.id }
  }

  /** Each client for the types that it subscribed to; what every proxy needs it has to subscribe to first. */
  #isSynced(wanted: number): boolean {
    const connected = this.#ads.clients().filter(client => client.connected)
    return (
      connected.length >= wanted &&
      connected.every(
        ({ types }) =>
          NEEDED.every(type => types.has(type)) &&
          [...types].every(([type, status]) => status.acknowledged === this.#versions.get(type)),
      )
    )
  }

  #ownerOf(token: string | undefined): TokenOwner | undefined {
    return token === undefined ? undefined : this.#owners.get(hashOf(token))
  }

  #refuse(owner: string | undefined, reason: string): { readonly ok: false; readonly reason: string } {
    this.#options.onRefused(owner, reason)
    return { ok: false, reason }
  }
}

/** A node's name, or `POD.NAMESPACE`. */
function nameOf(owner: TokenOwner): string {
  return owner.kind === 'node' ? owner.node : `${owner.pod}.${owner.namespace}`
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
