/** A Workload API server over a CA in memory, on a socket of its own folder. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, type Logger, parseSpiffeId, type SpiffeId } from '@ambient/core'
import {
  type AttestWorkload,
  type CertificateAuthority,
  createCertificateAuthority,
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiServer,
  type IdentityManager,
  type JwtAuthority,
  type WorkloadApiServer,
  type WorkloadApiServerOptions,
} from '../src/index.ts'
import { createJwtAuthority } from '../src/jwt/authority.ts'

export const WEB: SpiffeId = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
export const API: SpiffeId = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/api')

export interface WorkloadApiBench {
  readonly ca: CertificateAuthority
  readonly manager: IdentityManager
  readonly jwt: JwtAuthority
  readonly server: WorkloadApiServer
  readonly folder: string
  readonly socket: string
  readonly address: string
  /** Another server on the same socket; the first one has to be closed. */
  again(more?: Partial<WorkloadApiServerOptions>): Promise<WorkloadApiServer>
  close(): Promise<void>
}

export interface WorkloadApiBenchOptions extends Partial<Omit<WorkloadApiServerOptions, 'clock'>> {
  readonly clock?: Clock
  readonly logger?: Logger
  readonly ttlMs?: number
  readonly attest?: AttestWorkload
}

export async function startWorkloadApi(options: WorkloadApiBenchOptions = {}): Promise<WorkloadApiBench> {
  const { clock, ttlMs, ...more } = options
  const timed = clock === undefined ? {} : { clock }
  const folder = await mkdtemp(join(tmpdir(), 'ambient-wl-'))
  const socket = join(folder, 'agent.sock')
  const address = `unix://${socket}`
  const ca = await createCertificateAuthority({ trustDomain: 'cluster.local', ...timed })
  const jwt = await createJwtAuthority({ trustDomain: 'cluster.local', ...timed })
  const manager = createIdentityManager({
    signer: createLocalSigner(ca),
    ...timed,
    ...(ttlMs === undefined ? {} : { ttlMs }),
  })
  const servers: WorkloadApiServer[] = []
  const start = async (extra: Partial<WorkloadApiServerOptions>): Promise<WorkloadApiServer> => {
    const server = createWorkloadApiServer({
      listen: address,
      attest: () => [{ id: WEB }],
      credentials: manager,
      jwt,
      ...timed,
      ...more,
      ...extra,
    })
    servers.push(server)
    await server.start()
    return server
  }
  return {
    ca,
    manager,
    jwt,
    server: await start({}),
    folder,
    socket,
    address,
    again: extra => start(extra ?? {}),
    async close() {
      for (const server of servers) await server.close()
      await manager.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
