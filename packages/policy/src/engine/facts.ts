/** What policy knows of a connection, prepared once per decision so that matching allocates nothing. */
import type { Connection } from '@ambient/core'
import { AddressBytes } from './address-bytes.ts'
import { identityFacts } from './identity-facts.ts'

/** Addresses become bytes when a policy first asks for them: most never do. */
export class Facts {
  /** The SPIFFE ID without its scheme; `undefined` in plaintext. */
  principal: string | undefined
  /** Of the proven identity; empty in plaintext and for IDs that are not in Istio's form. */
  namespace = ''
  /** `namespace/service-account` of the proven identity. */
  account: string | undefined
  sourceAddress = ''
  destinationAddress = ''
  destinationPort = 0
  readonly #addresses = new AddressBytes()

  constructor(connection?: Connection) {
    if (connection !== undefined) this.read(connection)
  }

  /** Of another connection from now on. Keeps nothing of either but texts. */
  read({ source, destination }: Connection): this {
    const identity = source.identity && identityFacts(source.identity)
    this.principal = identity?.principal
    this.namespace = identity?.namespace ?? ''
    this.account = identity?.account
    this.sourceAddress = source.address
    this.destinationAddress = destination.address
    this.destinationPort = destination.port
    return this
  }

  get sourceIp(): Uint8Array {
    return this.#addresses.of(this.sourceAddress)
  }

  get destinationIp(): Uint8Array {
    return this.#addresses.of(this.destinationAddress)
  }
}
