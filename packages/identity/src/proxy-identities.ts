/** Where a proxy's certificates come from: a manager that it is given, a signer, a Workload API, or a CA that it names. */
import type { Clock, Logger } from '@ambient/core'
import { checkOptions } from './option-checks.ts'
import { createIdentityManager, type IdentityManager } from './manager/manager.ts'
import type { CertificateSigner } from './manager/signer.ts'
import type { Revocations } from './crl/revocations.ts'
import { createWorkloadApiIdentities } from './workload-api/identities.ts'
import { createWorkloadApiSource } from './workload-api/source.ts'

export interface ProxyIdentitiesOptions {
  /** Given by who made the proxy: stays theirs to close, and has its own revocations. */
  readonly identities?: IdentityManager | undefined
  /** Likewise, with a manager of ours above it. */
  readonly signer?: CertificateSigner | undefined
  /** What the proxy's configuration says, for when neither is given. */
  readonly config: {
    /** Address of a SPIFFE Workload API. */
    readonly workloadApi?: string | undefined
    /** File of revoked certificates (`CRL_PATH`). */
    readonly crl?: unknown
    readonly secretTtlMs: number
  }
  /** The signer that the configuration names; asked last. */
  readonly createSigner: () => CertificateSigner
  readonly revocations: Revocations
  readonly clock: Clock
  readonly logger: Logger
  /** What a contradiction in all of these is thrown as. */
  readonly invalid: (message: string) => Error
}

export interface ProxyIdentities {
  readonly manager: IdentityManager
  /** Closes what was made here, and leaves the caller's alone. */
  close(): Promise<void>
}

/**
 * Who a proxy is: what its maker gives, else what its configuration names. Throws what `invalid` makes.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION`
 */
export function createProxyIdentities(options: ProxyIdentitiesOptions): ProxyIdentities {
  checkOptions(options, { config: 'object', createSigner: 'function', invalid: 'function' })
  const { config, identities, signer, createSigner, revocations, clock, logger, invalid } = options
  if (identities !== undefined) {
    if (signer !== undefined) throw invalid('only one of identities and signer may be given')
    if (config.crl !== undefined)
      throw invalid('CRL_PATH has no hold on identities that are given: give their maker the revocations')
    return { manager: identities, close: async () => {} }
  }
  if (signer === undefined && config.workloadApi !== undefined) {
    const source = createWorkloadApiSource({ address: config.workloadApi, revocations, clock, logger })
    return owned(createWorkloadApiIdentities(source, { clock, logger }), source)
  }
  const ttlMs = config.secretTtlMs
  if (signer !== undefined)
    return owned(createIdentityManager({ signer, ttlMs, revocations, clock, logger }), undefined)
  const own = createSigner()
  return owned(createIdentityManager({ signer: own, ttlMs, revocations, clock, logger }), own)
}

function owned(manager: IdentityManager, below: { close(): Promise<void> } | undefined): ProxyIdentities {
  return {
    manager,
    async close() {
      await manager.close()
      await below?.close()
    },
  }
}
