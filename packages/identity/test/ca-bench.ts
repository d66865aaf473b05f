/** A CA behind gRPC and TLS on loopback, whose callers prove themselves with one token. */
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { parseSpiffeId, readSpiffeId } from '@ambient/core'
import {
  type CaCall,
  type CertificateAuthority,
  createCaService,
  createCertificateAuthority,
  type IssuedCertificate,
  type ServerNames,
} from '../src/index.ts'

export const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
export const TOKEN = 'the-node-token'

export interface RunningServer {
  readonly port: number
  close(): void
}

export async function serve(
  ca: CertificateAuthority,
  addTo: (server: Server) => void,
  names: ServerNames & { readonly port?: number } = {
    dnsNames: ['localhost', 'istiod.istio-system.svc'],
    ipAddresses: ['127.0.0.1'],
  },
): Promise<RunningServer> {
  const { certificateChain, privateKey } = await ca.issueServerCertificate(names)
  const server = new Server()
  addTo(server)
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(
      `127.0.0.1:${names.port ?? 0}`,
      ServerCredentials.createSsl(null, [
        { private_key: Buffer.from(privateKey), cert_chain: Buffer.from(certificateChain) },
      ]),
      (error, bound) => (error === null ? resolve(bound) : reject(error)),
    ),
  )
  return { port, close: () => server.forceShutdown() }
}

export interface CaBench {
  readonly ca: CertificateAuthority
  readonly port: number
  /** What the authorizer was asked, and what was issued. */
  readonly seen: CaCall[]
  readonly issued: IssuedCertificate[]
  close(): void
}

export async function startCa(): Promise<CaBench> {
  const seen: CaCall[] = []
  const issued: IssuedCertificate[] = []
  const ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
  const service = createCaService({
    ca,
    authorize(call) {
      seen.push(call)
      if (call.token === 'explodes') throw new Error('token store is gone')
      if (call.token !== TOKEN) return { ok: false, reason: 'unknown token' }
      if (call.clusterId !== 'Kubernetes') return { ok: false, reason: 'unknown cluster' }
      const id = readSpiffeId(call.impersonated ?? WEB.uri)
      return id.ok ? id : { ok: false, reason: id.reason }
    },
    onIssued: event => issued.push(event),
  })
  const server = await serve(ca, running => service.addTo(running))
  return { ca, seen, issued, port: server.port, close: () => server.close() }
}
