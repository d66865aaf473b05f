/**
 * A GET that can be trusted with an address out of a document: TLS, one deadline for all of it, a bounded body, no
 * redirect to another origin, no address that the guard blocks. Names are resolved once: what was checked is dialled.
 */
import { lookup as resolve } from 'node:dns'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { LookupFunction, Socket } from 'node:net'
import { messageOf } from '@ambient/core'
import { limits } from '../limits.ts'
import { PolicyError } from '../errors.ts'
import type { FetchText } from '../jwt/jwks-cache.ts'
import { createAddressGuard } from './blocked-addresses.ts'

export interface JwksFetcherOptions {
  /** For tests and for issuers inside of the mesh: `http` addresses too. Default `false`. */
  readonly allowHttp?: boolean
  /** Blocks of addresses that are not dialled, beside loopback, link-local and metadata services. */
  readonly blockedCidrs?: readonly string[]
  /** Exceptions from what is blocked. */
  readonly allowedCidrs?: readonly string[]
  /**
   * Private addresses are not dialled either: those of RFC 1918, of carriers (100.64.0.0/10), unique local (fc00::/7) and
   * site-local (fec0::/10) ones. Default `false`: many meshes run their identity provider inside.
   */
  readonly blockPrivate?: boolean
  /** PEM, in place of the system's authorities. */
  readonly ca?: string | readonly string[]
  /** In place of the system's resolver. */
  readonly lookup?: LookupFunction
}

interface Fetch {
  readonly options: JwksFetcherOptions
  readonly isBlocked: (address: string) => boolean
  readonly signal: AbortSignal
}

type Answer =
  | { readonly kind: 'body'; readonly text: string }
  | { readonly kind: 'redirect'; readonly location: string }

/**
 * The body of a 200 answer. Rejects with PolicyError `AMBIENT_E_POLICY_JWKS`, which names the address and the reason.
 * @throws CoreError `AMBIENT_E_CIDR` for a block that is none.
 */
export function createJwksFetcher(options: JwksFetcherOptions = {}): FetchText {
  const isBlocked = createAddressGuard({
    blockedCidrs: options.blockedCidrs ?? [],
    allowedCidrs: options.allowedCidrs ?? [],
    blockPrivate: options.blockPrivate ?? false,
  })
  return async (address, { timeoutMs, signal }) => {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    try {
      return await follow(address, { options, isBlocked, signal: deadline })
    } catch (error) {
      const reason = deadline.aborted ? `no answer within ${timeoutMs} ms` : messageOf(error)
      throw new PolicyError('AMBIENT_E_POLICY_JWKS', `keys of ${shown(address)}: ${reason}`, { cause: error })
    }
  }
}

async function follow(address: string, fetch: Fetch): Promise<string> {
  const first = checkedUrl(address, fetch)
  let url = first
  for (let hop = 0; hop <= limits.maxJwksRedirects; hop++) {
    const answer = await get(url, fetch)
    if (answer.kind === 'body') return answer.text
    url = checkedUrl(new URL(answer.location, url).href, fetch)
    if (url.origin !== first.origin) throw new Error(`redirected to ${url.origin}, another origin`)
  }
  throw new Error(`more than ${limits.maxJwksRedirects} redirects`)
}

function checkedUrl(address: string, { options, isBlocked }: Fetch): URL {
  const url = new URL(address)
  const isAllowed = url.protocol === 'https:' || (url.protocol === 'http:' && options.allowHttp === true)
  if (!isAllowed) throw new Error(`${url.protocol} is not allowed, expected https:`)
  if (url.username !== '' || url.password !== '') throw new Error('a user name or password in the address')
  // A literal is dialled without being looked up.
  const literal = url.hostname.replace(/^\[(.*)\]$/, '$1')
  if (/^[0-9.]+$|:/.test(literal) && isBlocked(literal)) throw blocked(literal)
  return url
}

function get(url: URL, fetch: Fetch): Promise<Answer> {
  const { options, signal } = fetch
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolveAnswer, reject) => {
    const request = send(url, {
      agent: false,
      signal,
      lookup: guardedLookup(fetch),
      headers: { accept: 'application/json', 'user-agent': 'ambient', connection: 'close' },
      maxHeaderSize: 16 * 1024,
      minVersion: 'TLSv1.2',
      ...(options.ca === undefined ? {} : { ca: [options.ca].flat() }),
    })
    request.on('socket', socket => socket.once('connect', () => checkPeer(socket, fetch)))
    request.on('error', reject)
    request.on('response', response => {
      readAnswer(response).then(resolveAnswer, reject)
      response.on('close', () => request.destroy())
    })
    request.end()
  })
}

/** Once more where it is dialled: nothing between the name and the socket has changed it. */
function checkPeer(socket: Socket, { isBlocked }: Fetch): void {
  const { remoteAddress } = socket
  if (remoteAddress !== undefined && isBlocked(remoteAddress)) socket.destroy(blocked(remoteAddress))
}

/** One blocked address among several refuses the name: who owns it wanted us to get there. */
function guardedLookup({ options, isBlocked }: Fetch): LookupFunction {
  const ask: LookupFunction = options.lookup ?? resolve
  return (hostname, lookupOptions, callback) => {
    ask(hostname, { ...lookupOptions, all: true }, (error, found, family) => {
      if (error !== null) return callback(error, [])
      const addresses = Array.isArray(found) ? found : [{ address: found, family: family ?? 0 }]
      const bad = addresses.find(({ address }) => isBlocked(address))
      if (bad !== undefined) return callback(blocked(bad.address), [])
      const [first] = addresses
      if (lookupOptions.all === true || first === undefined) return callback(null, addresses)
      return callback(null, first.address, first.family)
    })
  }
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const { statusCode = 0 } = response
  const { location } = response.headers
  if (statusCode >= 300 && statusCode < 400 && location !== undefined) {
    response.destroy()
    return { kind: 'redirect', location }
  }
  if (statusCode !== 200) {
    response.destroy()
    throw new Error(`status ${statusCode}`)
  }
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response) {
    if (!(chunk instanceof Uint8Array)) continue
    size += chunk.length
    if (size > limits.maxJwksBytes) throw new Error(`more than ${limits.maxJwksBytes} bytes`)
    chunks.push(chunk)
  }
  return { kind: 'body', text: new TextDecoder('utf-8', { fatal: true }).decode(concat(chunks, size)) }
}

function concat(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

function blocked(address: string): Error {
  return new Error(`the address ${address} is blocked`)
}

/** Without what could be a secret in it. */
function shown(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : undefined
  return url === undefined
    ? JSON.stringify(address.slice(0, limits.maxQuotedLength))
    : url.origin + url.pathname
}
