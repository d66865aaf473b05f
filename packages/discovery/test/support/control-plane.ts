/** A control plane on loopback: our ADS service behind TLS, with everything that its clients said. */
import { Server, ServerCredentials } from '@grpc/grpc-js'
import {
  type AdsCaller,
  type AdsService,
  adsServerOptions,
  type ClientStatus,
  createAdsService,
} from '../../src/index.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, type ResourceType } from '../../src/xds/protocol.ts'
import type { ServerIdentity } from './certificates.ts'

export interface ControlPlane {
  readonly ads: AdsService
  readonly port: number
  readonly address: string
  readonly callers: readonly AdsCaller[]
  /** Resolves with the first status of a client that fits, now or later. */
  client(fits: (client: ClientStatus) => boolean): Promise<ClientStatus>
  /** Ends all and frees the port. */
  close(): Promise<void>
}

export async function startControlPlane(
  identity: ServerIdentity,
  options: { port?: number; token?: string } = {},
): Promise<ControlPlane> {
  const callers: AdsCaller[] = []
  const ads = createAdsService({
    authorize(caller) {
      callers.push(caller)
      return options.token === undefined || caller.token === options.token
        ? { ok: true }
        : { ok: false, reason: 'the token is not known' }
    },
  })
  const server = new Server(adsServerOptions)
  ads.addTo(server)
  const tls = ServerCredentials.createSsl(null, [
    { cert_chain: Buffer.from(identity.certificateChain), private_key: Buffer.from(identity.privateKey) },
  ])
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${options.port ?? 0}`, tls, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  return {
    ads,
    port,
    address: `https://127.0.0.1:${port}`,
    callers,
    client: fits => waitForClient(ads, fits),
    close: () =>
      new Promise(resolve => {
        ads.close()
        server.tryShutdown(() => resolve())
      }),
  }
}

/** Every type is settled and nothing was refused. */
export function acknowledged(versions: ReadonlyMap<ResourceType, string>) {
  return (client: ClientStatus): boolean =>
    client.connected &&
    [ADDRESS_TYPE, AUTHORIZATION_TYPE].every(
      type => client.types.get(type as ResourceType)?.acknowledged === versions.get(type as ResourceType),
    )
}

function waitForClient(ads: AdsService, fits: (client: ClientStatus) => boolean): Promise<ClientStatus> {
  return new Promise(resolve => {
    const present = ads.clients().find(fits)
    if (present !== undefined) return resolve(present)
    const stop = ads.watchClients(client => {
      if (!fits(client)) return
      stop()
      resolve(client)
    })
  })
}
