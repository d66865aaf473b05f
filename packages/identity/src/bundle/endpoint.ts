/** Publishes a bundle over HTTPS, for the federation of others. Source: SPIFFE Federation §5. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { formatSpiffeBundle, type SpiffeBundle } from './spiffe-bundle.ts'
import { checkOptions } from '../option-checks.ts'

export interface BundleEndpointOptions {
  /** As it is now: asked at each request. */
  readonly bundle: () => SpiffeBundle
  /** Default `/`. Other paths are answered 404. */
  readonly path?: string
}

/**
 * A listener for `https.createServer`: for `https_spiffe` with an X.509-SVID (`createTlsOptions`), for `https_web` with a
 * certificate that browsers believe.
 */
export function createBundleEndpoint(
  options: BundleEndpointOptions,
): (request: IncomingMessage, response: ServerResponse) => void {
  checkOptions(options, { bundle: 'function' })
  const { bundle, path = '/' } = options
  return (request, response) => {
    const [requested] = (request.url ?? '').split('?')
    if (requested !== path) return answer(response, 404)
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return answer(response, 405, { allow: 'GET, HEAD' })
    const document = formatSpiffeBundle(bundle())
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(document),
      'cache-control': 'no-cache',
    })
    response.end(request.method === 'HEAD' ? undefined : document)
  }
}

function answer(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { ...headers, 'content-length': 0 }).end()
}
