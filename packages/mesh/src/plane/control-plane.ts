/** The embedded control plane: discovery (delta ADS) and certificates (Istio's CA) on one TLS port, as istiod. */
import { createHash, randomBytes } from 'node:crypto'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { formatHostPort, type Logger, readSpiffeId, workloadIdentityOf } from '@ambient/core'
import {
  adsServerOptions,
  type AdsService,
  type AmbientState,
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

export interface ControlPlaneOptions {
  readonly address: string
  readonly ca: CertificateAuthority
  readonly clusterId: string
  readonly logger: Logger
  /** Whether a pod with this namespace and service account is placed on a node: what impersonation rests on. */
  readonly runsOn: (node: string, namespace: string, serviceAccount: string) => boolean
  readonly onRefused: (node: string | undefined, reason: string) => void
}

export interface ControlPlane {
  /** `https://IP:15012`. */
  readonly url: string
  /** A new secret that lets its bearer speak for a node, until the next one for the same node. */
  issueToken(node: string): string
  start(): Promise<void>
  publish(state: AmbientState): void
  clients(): readonly ClientStatus[]
  /** Resolves when so many clients are connected and all have acknowledged what was last published. */
  synced(clients: number, signal?: AbortSignal): Promise<void>
  close(): Promise<void>
}

export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  return new EmbeddedControlPlane(options)
}

class EmbeddedControlPlane implements ControlPlane {
  readonly #options: ControlPlaneOptions
  /** Hash of a token to its node: a look-up takes as long for a near miss as for a far one. */
  readonly #nodes = new Map<string, string>()
  readonly #ads: AdsService
  readonly #server = new Server({ ...adsServerOptions })
  #versions: PublishResult['versions'] = new Map()

  constructor(options: ControlPlaneOptions) {
    this.#options = options
    const { logger } = options
    this.#ads = createAdsService({
      logger,
      authorize: ({ token, node }) => {
        const owner = this.#nodeOf(token)
        const claimed = node.metadata['NODE_NAME']
        if (owner === undefined) return this.#refuse(undefined, 'discovery: the token is of no node')
        if (claimed !== undefined && claimed !== owner)
          return this.#refuse(owner, `discovery: the token of ${owner} was used for ${String(claimed)}`)
        return { ok: true }
      },
    })
    this.#ads.addTo(this.#server)
    createCaService({ ca: options.ca, logger, authorize: call => this.#authorizeSigning(call) }).addTo(
      this.#server,
    )
  }

  get url(): string {
    return `https://${formatHostPort(this.#options.address, CONTROL_PLANE_PORT)}`
  }

  issueToken(node: string): string {
    for (const [hash, owner] of this.#nodes) if (owner === node) this.#nodes.delete(hash)
    const token = randomBytes(32).toString('base64url')
    this.#nodes.set(hashOf(token), node)
    return token
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

  /** A node's proxy may speak for the workloads of its node, and for nobody else; not for itself either. */
  #authorizeSigning(call: CaCall): CaAuthorization {
    const node = this.#nodeOf(call.token)
    if (node === undefined) return this.#refuse(undefined, 'certificates: the token is of no node')
    if (call.clusterId !== this.#options.clusterId)
      return this.#refuse(node, `certificates: cluster ${call.clusterId ?? 'unnamed'} is not ours`)
    if (call.impersonated === undefined)
      return this.#refuse(node, 'certificates: a node has no identity of its own')
    const id = readSpiffeId(call.impersonated)
    const workload = id.ok ? workloadIdentityOf(id.id) : undefined
    // istiod does not look at the trust domain here; a foreign one would be signed by our root.
    if (!id.ok || workload === undefined || workload.trustDomain !== this.#options.ca.trustDomain)
      return this.#refuse(node, `certificates: ${call.impersonated.slice(0, 200)} is not of this mesh`)
    if (!this.#options.runsOn(node, workload.namespace, workload.serviceAccount))
      return this.#refuse(node, `certificates: no pod of ${node} runs as ${id.id.uri}`)
    return { ok: true, id: id.id }
  }

  #isSynced(wanted: number): boolean {
    const connected = this.#ads.clients().filter(client => client.connected)
    return (
      connected.length >= wanted &&
      connected.every(({ types }) =>
        [...this.#versions].every(([type, version]) => types.get(type)?.acknowledged === version),
      )
    )
  }

  #nodeOf(token: string | undefined): string | undefined {
    return token === undefined ? undefined : this.#nodes.get(hashOf(token))
  }

  #refuse(node: string | undefined, reason: string): { readonly ok: false; readonly reason: string } {
    this.#options.onRefused(node, reason)
    return { ok: false, reason }
  }
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
