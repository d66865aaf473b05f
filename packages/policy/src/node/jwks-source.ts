/** Keys of issuers for a program on Node: the cache over the guarded fetcher. */
import { createJwksCache, type JwksCache, type JwksCacheOptions } from '../jwt/jwks-cache.ts'
import { createJwksFetcher, type JwksFetcherOptions } from './jwks-fetcher.ts'

export type JwksSourceOptions = Omit<JwksCacheOptions, 'fetch'> & JwksFetcherOptions

/**
 * Fetches nothing before a token asks for it. Give it to whatever verifies tokens, and `close()` it at the end.
 * @throws CoreError `AMBIENT_E_CIDR` for a block that is none.
 */
export function createJwksSource(options: JwksSourceOptions = {}): JwksCache {
  return createJwksCache({ ...options, fetch: createJwksFetcher(options) })
}
