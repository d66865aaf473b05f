/** What policy knows of a connection, prepared once per decision so that matching allocates nothing. */
import { type Connection, ipToBytes, workloadIdentityOf } from '@ambient/core'

const SCHEME_LENGTH = 'spiffe://'.length

/** Addresses become bytes when a policy first asks for them: most never do. */
export class Facts {
  /** The SPIFFE ID without its scheme; `undefined` in plaintext. */
  readonly principal: string | undefined
  /** Of the proven identity; empty in plaintext and for IDs that are not in Istio's form. */
  readonly namespace: string
  /** `namespace/service-account` of the proven identity. */
  readonly account: string | undefined
  readonly sourceAddress: string
  readonly destinationAddress: string
  readonly destinationPort: number
  #sourceIp: Uint8Array | undefined
  #destinationIp: Uint8Array | undefined

  constructor(connection: Connection) {
    const { source, destination } = connection
    const workload = source.identity && workloadIdentityOf(source.identity)
    this.principal = source.identity?.uri.slice(SCHEME_LENGTH)
    this.namespace = workload?.namespace ?? ''
    this.account = workload && `${workload.namespace}/${workload.serviceAccount}`
    this.sourceAddress = source.address
    this.destinationAddress = destination.address
    this.destinationPort = destination.port
  }

  get sourceIp(): Uint8Array {
    this.#sourceIp ??= ipToBytes(this.sourceAddress) ?? noBytes
    return this.#sourceIp
  }

  get destinationIp(): Uint8Array {
    this.#destinationIp ??= ipToBytes(this.destinationAddress) ?? noBytes
    return this.#destinationIp
  }
}

/** Of no address family, hence in no block. */
const noBytes = new Uint8Array(0)
