/** TLS contexts of an identity: made once for each generation, because making one costs a millisecond. */
import { constants } from 'node:crypto'
import {
  createSecureContext,
  type KeyObject as TlsKey,
  type SecureContext,
  type SecureContextOptions,
} from 'node:tls'
import type { Credentials } from '@ambient/core'

/** TLS 1.3 alone, no tickets: each connection proves its peer. ztunnel's suites. */
const PROTOCOL: SecureContextOptions = Object.freeze({
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256',
  secureOptions: constants.SSL_OP_NO_TICKET,
})

const own = new WeakMap<Credentials, SecureContext>()
const checking = new WeakMap<Credentials, SecureContext>()

/** For connections that our own verdict alone decides on: the platform trusts nobody. */
export function contextOf(credentials: Credentials): SecureContext {
  return cached(own, credentials, () => createSecureContext(contextOptions(credentials, [])))
}

/** For connections on which the platform's check comes first. */
export function checkingContextOf(credentials: Credentials): SecureContext {
  return cached(checking, credentials, () =>
    createSecureContext(contextOptions(credentials, anchorsOf(credentials))),
  )
}

/** What contexts and servers are made of. Servers keep it, and dumps show servers: the key is asked for, not held. */
export function contextOptions(credentials: Credentials, ca: readonly string[]): SecureContextOptions {
  const { certificateChain } = credentials
  return { ...PROTOCOL, cert: certificateChain, key: [new HiddenKey(credentials)], ca: [...ca] }
}

/** A key as `node:tls` takes it, PEM at the moment when it is read. */
class HiddenKey implements TlsKey {
  readonly #credentials: Credentials

  constructor(credentials: Credentials) {
    this.#credentials = credentials
  }

  get pem(): string {
    return this.#credentials.privateKey()
  }
}

/** PEM of everything that a member of a domain which we believe may lead to. */
export function anchorsOf(credentials: Credentials): string[] {
  return [credentials.trustBundle, ...credentials.federatedBundles.values()]
}

function cached(
  contexts: WeakMap<Credentials, SecureContext>,
  credentials: Credentials,
  make: () => SecureContext,
): SecureContext {
  const context = contexts.get(credentials) ?? make()
  contexts.set(credentials, context)
  return context
}
