/** One identity of a manager as a source of its own. */
import type { Credentials, CredentialsSource, SpiffeId } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import type { X509Source } from '../sources/x509-source.ts'

/** What a source needs of its manager. */
export interface SourceManager extends CredentialsSource {
  /** Fetches ahead of need; does nothing for an identity that is known. */
  prefetch(id: SpiffeId): void
}

/** Closing it ends its own watches and waits; the identity stays the manager's. */
export function managedSource(manager: SourceManager, id: SpiffeId): X509Source {
  const watches = new Set<() => void>()
  const ending = new AbortController()
  const close = async (): Promise<void> => {
    if (ending.signal.aborted) return
    ending.abort(
      new IdentityError('AMBIENT_E_IDENTITY_CLOSED', `${id.uri}: the source is closed`, {
        layer: 'identity',
      }),
    )
    for (const unwatch of [...watches]) unwatch()
    watches.clear()
  }
  return Object.freeze({
    async get({ signal }: { readonly signal?: AbortSignal } = {}) {
      signal?.throwIfAborted()
      ending.signal.throwIfAborted()
      return (
        manager.current(id) ??
        manager.get(id, {
          signal: signal === undefined ? ending.signal : AbortSignal.any([signal, ending.signal]),
        })
      )
    },
    current: () => (ending.signal.aborted ? undefined : manager.current(id)),
    watch(listener: (credentials: Credentials) => void) {
      if (ending.signal.aborted) return () => {}
      const unwatch = manager.watch(id, listener)
      watches.add(unwatch)
      // A first certificate comes to whoever watches, as from every source.
      manager.prefetch(id)
      return () => {
        watches.delete(unwatch)
        unwatch()
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  })
}
