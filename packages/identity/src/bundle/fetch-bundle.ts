/**
 * One request for the bundle of a trust domain: HTTPS proven by the web's CAs, or by an X.509-SVID. Source: SPIFFE
 * Federation §5.
 */
import type { IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { isIP } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { type Clock, messageOf, type SpiffeId } from '@ambient/core'
import { peerChain } from '@ambient/core/node'
import { bundleLimits, federationDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { verifyPeerChain } from '../svid/verify.ts'
import { bundlePem, readSpiffeBundle, type SpiffeBundle } from './spiffe-bundle.ts'

/** How a bundle endpoint proves itself. */
export type BundleEndpointProfile =
  | {
      readonly kind: 'https_web'
      /** PEM of the CAs that count. Default: those that Node trusts. */
      readonly trustedCas?: string
    }
  /** An X.509-SVID with this ID, proven by the bundle of its own trust domain. */
  | { readonly kind: 'https_spiffe'; readonly endpointId: SpiffeId }

export interface FetchBundleOptions {
  /** Whose bundle it is: known beforehand, never from the document. */
  readonly trustDomain: string
  /** `https:`, without user and password. */
  readonly url: string
  readonly profile: BundleEndpointProfile
  /** For `https_spiffe`: what is known of the endpoint's own trust domain so far. */
  readonly endpointBundle: SpiffeBundle | undefined
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** @throws IdentityError `AMBIENT_E_BUNDLE_ENDPOINT` when it gave none, `AMBIENT_E_TRUST_BUNDLE` when it gave nonsense. */
export async function fetchBundle(options: FetchBundleOptions): Promise<SpiffeBundle> {
  const { trustDomain, clock, signal } = options
  const { requestTimeoutMs } = federationDefaults
  const ended = new AbortController()
  const onAbort = (): void => ended.abort(signal.reason)
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  const timer = clock.after(requestTimeoutMs, () =>
    ended.abort(endpointError(trustDomain, `no answer within ${requestTimeoutMs} ms`)),
  )
  try {
    return readSpiffeBundle(trustDomain, await follow(options, ended.signal))
  } catch (error) {
    throw ended.signal.aborted ? ended.signal.reason : error
  } finally {
    timer.cancel()
    signal.removeEventListener('abort', onAbort)
    // Whatever is still open ends with the request.
    ended.abort()
  }
}

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function readEndpointUrl(text: string): URL {
  const problem = urlProblem(text)
  if (problem === undefined) return new URL(text)
  throw new IdentityError('AMBIENT_E_IDENTITY_OPTION', `url ${JSON.stringify(text)}: ${problem}`, {
    layer: 'config',
  })
}

function urlProblem(text: string, base?: URL): string | undefined {
  if (!URL.canParse(text, base?.href)) return 'not a URL'
  const url = new URL(text, base?.href)
  if (url.protocol !== 'https:') return 'not https'
  return url.username === '' && url.password === '' ? undefined : 'has a user or a password'
}

/** Redirects keep profile and endpoint ID. */
async function follow(options: FetchBundleOptions, signal: AbortSignal): Promise<string> {
  const { trustDomain } = options
  let url = readEndpointUrl(options.url)
  for (let redirects = 0; redirects <= federationDefaults.maxRedirects; redirects += 1) {
    const response = await get(url, options, signal)
    const { statusCode = 0, headers } = response
    if (statusCode === 200) return readBody(response, trustDomain)
    response.destroy()
    const location = statusCode >= 300 && statusCode < 400 ? headers.location : undefined
    if (location === undefined)
      throw endpointError(trustDomain, `${url.href} answered with status ${statusCode}`)
    const problem = urlProblem(location, url)
    if (problem !== undefined)
      throw endpointError(trustDomain, `redirected to ${JSON.stringify(location.slice(0, 200))}: ${problem}`)
    url = new URL(location, url.href)
  }
  throw endpointError(trustDomain, `more than ${federationDefaults.maxRedirects} redirects`)
}

async function get(url: URL, options: FetchBundleOptions, signal: AbortSignal): Promise<IncomingMessage> {
  const { trustDomain, profile } = options
  // The peer is proven before a byte of the request is written.
  const socket = profile.kind === 'https_spiffe' ? await provenSocket(url, options, signal) : undefined
  return new Promise((resolve, reject) => {
    const call = request(url, {
      signal,
      agent: false,
      headers: { accept: 'application/json' },
      minVersion: 'TLSv1.2',
      // A socket that we made was judged by us; what the web's CAs would say of it does not count.
      rejectUnauthorized: socket === undefined,
      ...(profile.kind === 'https_web' && profile.trustedCas !== undefined ? { ca: profile.trustedCas } : {}),
      ...(socket === undefined ? {} : { createConnection: () => socket }),
    })
    call.once('response', resolve)
    call.once('error', cause => reject(endpointError(trustDomain, `${url.href}: ${messageOf(cause)}`, cause)))
    call.end()
  })
}

async function provenSocket(url: URL, options: FetchBundleOptions, signal: AbortSignal): Promise<TLSSocket> {
  const { trustDomain, profile, endpointBundle, clock } = options
  if (profile.kind !== 'https_spiffe') throw endpointError(trustDomain, 'not an https_spiffe endpoint')
  const { endpointId } = profile
  if (endpointBundle === undefined)
    throw endpointError(trustDomain, `no bundle is known that could prove its endpoint ${endpointId.uri}`)
  const socket = await secureSocket(url, trustDomain, signal)
  const verdict = verifyPeerChain({
    chain: peerChain(socket),
    trustBundle: bundlePem(endpointBundle),
    ownTrustDomain: endpointId.trustDomain,
    expect: { kind: 'one-of', ids: [endpointId] },
    now: clock.now(),
  })
  if (verdict.ok) return socket
  socket.destroy()
  throw endpointError(trustDomain, `${url.href}: ${verdict.reason}`)
}

function secureSocket(url: URL, trustDomain: string, signal: AbortSignal): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
    // The platform's verdict is not asked for; ours follows before anything is sent.
    const socket = connect({
      host,
      port: Number(url.port || 443),
      rejectUnauthorized: false,
      minVersion: 'TLSv1.2',
      ...(isIP(host) === 0 ? { servername: host } : {}),
    })
    const onAbort = (): void => void socket.destroy()
    const fail = (cause: Error): void =>
      reject(endpointError(trustDomain, `${url.href}: ${messageOf(cause)}`, cause))
    signal.addEventListener('abort', onAbort, { once: true })
    socket.once('close', () => {
      signal.removeEventListener('abort', onAbort)
      fail(new Error('the connection was closed'))
    })
    socket.once('error', fail)
    socket.once('secureConnect', () => resolve(socket))
  })
}

async function readBody(response: IncomingMessage, trustDomain: string): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  try {
    for await (const part of response) {
      bytes += part.length
      if (bytes > bundleLimits.maxDocumentBytes) break
      parts.push(part)
    }
  } catch (cause) {
    throw endpointError(trustDomain, `the document was cut: ${messageOf(cause)}`, cause)
  }
  if (bytes > bundleLimits.maxDocumentBytes)
    throw endpointError(trustDomain, `the document is larger than ${bundleLimits.maxDocumentBytes} bytes`)
  if (!response.complete) throw endpointError(trustDomain, 'the document was cut')
  return Buffer.concat(parts).toString('utf8')
}

function endpointError(trustDomain: string, what: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_BUNDLE_ENDPOINT', `the bundle endpoint of ${trustDomain}: ${what}`, {
    cause,
    layer: 'identity',
  })
}
