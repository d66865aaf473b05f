/** One identity of a manager keeps what every source keeps, whoever signs: the CA of this process, or Istio's over gRPC. */
import type { Clock, Logger } from '@ambient/core'
import {
  type CertificateSigner,
  createCaService,
  createCertificateAuthority,
  createIdentityManager,
  createIstioCaClient,
  createLocalSigner,
} from '../src/index.ts'
import { serve, WEB } from './ca-bench.ts'
import { describeX509Source, type Issuer, type SourceBench } from './x509-source-contract.ts'

interface Desk {
  readonly signer: CertificateSigner
  close(): Promise<unknown>
}

/** `refuse` is asked before each signature. */
type OpenDesk = (clock: Clock, refuse: () => boolean) => Promise<Desk>

function describeManaged(name: string, openDesk: OpenDesk): void {
  describeX509Source({
    name,
    async open({ clock, logger, issuer, ttlMs }): Promise<SourceBench> {
      let refuses = issuer === 'refuses'
      const desk = await openDesk(clock, () => refuses)
      const manager = createIdentityManager({
        signer: holding(desk.signer, issuer),
        clock,
        logger: logger satisfies Logger,
        ttlMs,
      })
      return {
        source: manager.x509Source(WEB),
        id: WEB,
        renew: () => manager.rotate(WEB),
        outage: async () => {
          refuses = true
        },
        async close() {
          await manager.close()
          await desk.signer.close()
          await desk.close()
        },
      }
    },
  })
}

/** Whoever says nothing ends when nobody waits any longer. */
function holding(signer: CertificateSigner, issuer: Issuer): CertificateSigner {
  if (issuer !== 'says nothing') return signer
  return {
    sign: ({ signal }) =>
      new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason))),
    close: () => signer.close(),
  }
}

describeManaged('a manager over the embedded CA', async (clock, refuse) => {
  const local = createLocalSigner(await createCertificateAuthority({ trustDomain: 'cluster.local', clock }))
  return {
    signer: {
      sign: async request => {
        if (refuse()) throw new Error('not today')
        return local.sign(request)
      },
      close: () => local.close(),
    },
    close: async () => {},
  }
})

describeManaged("a manager over Istio's CA", async (clock, refuse) => {
  const ca = await createCertificateAuthority({ trustDomain: 'cluster.local', clock })
  const service = createCaService({
    ca,
    authorize: () => (refuse() ? { ok: false, reason: 'not today' } : { ok: true, id: WEB }),
  })
  const server = await serve(ca, running => service.addTo(running))
  return {
    signer: createIstioCaClient({
      address: `https://127.0.0.1:${server.port}`,
      rootPem: () => ca.rootPem,
      clusterId: 'Kubernetes',
      impersonate: true,
      clock,
    }),
    close: async () => server.close(),
  }
})
