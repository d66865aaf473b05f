/** One workload's source as the passport desk of a proxy: it speaks for that workload, and for nobody else. */
import type { Credentials, CredentialsSource, SpiffeId } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import type { X509Source } from './x509-source.ts'
import { checkOption } from '../option-checks.ts'

/**
 * What `@ambient/hbone` and a dedicated proxy ask for credentials, over one X509Source: PEM files, the Workload API, a
 * manager's identity. The source stays the caller's to close. An ID that it does not hold is refused by `get` with
 * `AMBIENT_E_IDENTITY_NOT_HELD`, and never seen by `current` or `watch`.
 */
export function credentialsSourceOf(source: X509Source): CredentialsSource {
  checkOption('source', source, 'source')
  return Object.freeze({
    async get(id: SpiffeId, options?: { readonly signal?: AbortSignal }) {
      const credentials = await source.get(options)
      if (isOf(credentials, id)) return credentials
      throw new IdentityError(
        'AMBIENT_E_IDENTITY_NOT_HELD',
        `no credentials of ${id.uri}: the source holds those of ${credentials.id.uri}`,
        { layer: 'identity' },
      )
    },
    current(id: SpiffeId) {
      const credentials = source.current()
      return credentials !== undefined && isOf(credentials, id) ? credentials : undefined
    },
    watch: (id: SpiffeId, listener: (credentials: Credentials) => void) =>
      source.watch(credentials => {
        if (isOf(credentials, id)) listener(credentials)
      }),
  })
}

function isOf(credentials: Credentials, id: SpiffeId): boolean {
  return credentials.id.uri === id.uri
}
