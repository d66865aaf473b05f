/** One identity of a manager as a source of its own. */
import type { Credentials, CredentialsSource, SpiffeId } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import type { X509Source } from '../sources/x509-source.ts'

/** Closing it ends its own watches; the identity stays the manager's. */
export function managedSource(manager: CredentialsSource, id: SpiffeId): X509Source {
  const watches = new Set<() => void>()
  let isClosed = false
  const close = async (): Promise<void> => {
    isClosed = true
    for (const unwatch of [...watches]) unwatch()
    watches.clear()
  }
  return Object.freeze({
    async get(options?: { readonly signal?: AbortSignal }) {
      if (!isClosed) return manager.get(id, options)
      throw new IdentityError('AMBIENT_E_IDENTITY_CLOSED', `${id.uri}: the source is closed`, {
        layer: 'identity',
      })
    },
    current: () => (isClosed ? undefined : manager.current(id)),
    watch(listener: (credentials: Credentials) => void) {
      if (isClosed) return () => {}
      const unwatch = manager.watch(id, listener)
      watches.add(unwatch)
      return () => {
        watches.delete(unwatch)
        unwatch()
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  })
}
