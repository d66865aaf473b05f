/**
 * What of policies needs Node: keys of issuers over HTTPS, guarded against addresses that nobody should reach.
 * @packageDocumentation
 */
export { createJwksSource, type JwksSourceOptions } from './jwks-source.ts'
export { createJwksFetcher, type JwksFetcherOptions } from './jwks-fetcher.ts'
