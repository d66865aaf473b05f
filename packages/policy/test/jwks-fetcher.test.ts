/** The guarded fetch, against real servers on this machine: what is fetched, and all that is not. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { LookupFunction } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createJwtAuthenticator } from '@ambient/policy'
import { createJwksFetcher, createJwksSource, type JwksFetcherOptions } from '@ambient/policy/node'
import { createAddressGuard } from '../src/node/blocked-addresses.ts'
import { claims, jwk, jwks, now, token } from './jwt-tokens.ts'

const loopback = ['127.0.0.1/32']
const keys = jwks(jwk('rsa', { kid: 'rsa' }))
const folder = mkdtempSync(join(tmpdir(), 'jwks-'))
const servers = new Set<Server>()
let pem: { readonly key: string; readonly cert: string }

beforeAll(() => {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  execFileSync(
    'openssl',
    `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=issuer.test -addext subjectAltName=DNS:issuer.test,DNS:other.test,IP:127.0.0.1 -keyout ${key} -out ${cert}`.split(
      ' ',
    ),
    { stdio: 'ignore' },
  )
  pem = { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
})

afterEach(async () => {
  for (const server of servers) {
    const closed = new Promise(resolve => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  servers.clear()
})

afterAll(() => rmSync(folder, { recursive: true }))

async function serve(listener: RequestListener, scheme: 'http' | 'https' = 'https'): Promise<number> {
  const server = scheme === 'https' ? createHttpsServer(pem, listener) : createHttpServer(listener)
  servers.add(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' ? (address?.port ?? 0) : 0
}

/** Every name is this machine, unless the test says where it is. */
function resolver(addresses: Readonly<Record<string, readonly string[]>> = {}): LookupFunction & {
  readonly asked: string[]
} {
  const asked: string[] = []
  const lookup: LookupFunction = (hostname, _, callback) => {
    asked.push(hostname)
    const found = addresses[hostname] ?? ['127.0.0.1']
    callback(
      null,
      found.map(address => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }
  return Object.assign(lookup, { asked })
}

function fetchText(url: string, options: JwksFetcherOptions = {}, timeoutMs = 5_000): Promise<string> {
  const fetcher = createJwksFetcher({
    ca: pem.cert,
    allowedCidrs: loopback,
    lookup: resolver(),
    ...options,
  })
  return fetcher(url, { timeoutMs, signal: new AbortController().signal })
}

async function reasonOf(url: string, options: JwksFetcherOptions = {}, timeoutMs?: number): Promise<string> {
  try {
    await fetchText(url, options, timeoutMs)
    return 'fetched'
  } catch (error) {
    expect(error).toMatchObject({ code: 'AMBIENT_E_POLICY_JWKS', layer: 'policy' })
    return error instanceof Error ? error.message.replace(/^keys of \S+: /, '') : ''
  }
}

describe('a fetch', () => {
  it('gives the body of what was answered over TLS', async () => {
    const port = await serve((_, response) => void response.end(keys))
    expect(await fetchText(`https://issuer.test:${port}/keys`)).toBe(keys)
    expect(await fetchText(`https://127.0.0.1:${port}/keys`)).toBe(keys)
  })

  it('sends nothing but the question', async () => {
    let headers = {}
    const port = await serve((request, response) => {
      headers = request.headers
      response.end(keys)
    })
    await fetchText(`https://issuer.test:${port}/keys`)
    expect(headers).toEqual({
      host: `issuer.test:${port}`,
      accept: 'application/json',
      'user-agent': 'ambient',
      connection: 'close',
    })
  })

  it('asks over TLS alone, unless it may do without', async () => {
    const port = await serve((_, response) => void response.end(keys), 'http')
    const url = `http://issuer.test:${port}/keys`
    expect(await reasonOf(url)).toBe('http: is not allowed, expected https:')
    expect(await fetchText(url, { allowHttp: true })).toBe(keys)
    expect(await reasonOf('file:///etc/passwd', { allowHttp: true })).toMatch(/^file: is not allowed/)
    expect(await reasonOf('data:application/json,{}', { allowHttp: true })).toMatch(/^data: is not allowed/)
    expect(await reasonOf('ftp://issuer.test/', { allowHttp: true })).toMatch(/^ftp: is not allowed/)
  })

  it('believes nobody whom its authorities do not know', async () => {
    const port = await serve((_, response) => void response.end(keys))
    const withSystem: JwksFetcherOptions = { allowedCidrs: loopback, lookup: resolver() }
    const fetcher = createJwksFetcher(withSystem)
    const { signal } = new AbortController()
    await expect(fetcher(`https://issuer.test:${port}/`, { timeoutMs: 5_000, signal })).rejects.toThrow(
      /self-signed certificate/,
    )
    expect(await reasonOf(`https://stranger.test:${port}/`)).toMatch(/altnames/)
  })

  it.each([
    ['a status', 404, 'status 404'],
    ['no content', 204, 'status 204'],
    ['an error', 500, 'status 500'],
    ['a redirect to nowhere', 302, 'status 302'],
  ])('takes nothing but 200: %s', async (_, status, reason) => {
    const port = await serve((__, response) => void response.writeHead(status).end())
    expect(await reasonOf(`https://issuer.test:${port}/`)).toBe(reason)
  })

  it('takes a megabyte and no more', async () => {
    const port = await serve((request, response) => {
      response.on('error', () => {})
      if (request.url === '/fits') response.end('x'.repeat(1024 * 1024))
      else response.end('x'.repeat(1024 * 1024 + 1))
    })
    expect((await fetchText(`https://issuer.test:${port}/fits`)).length).toBe(1024 * 1024)
    expect(await reasonOf(`https://issuer.test:${port}/large`)).toBe('more than 1048576 bytes')
  })

  it('has one deadline for everything', async () => {
    const silent = await serve(() => {})
    expect(await reasonOf(`https://issuer.test:${silent}/`, {}, 200)).toBe('no answer within 200 ms')
    const slow = await serve((_, response) => void response.writeHead(200).write('{'))
    expect(await reasonOf(`https://issuer.test:${slow}/`, {}, 200)).toBe('no answer within 200 ms')
    const hanging: LookupFunction = () => {}
    expect(await reasonOf('https://issuer.test/', { lookup: hanging }, 200)).toBe('no answer within 200 ms')
  })

  it('follows redirects to its own origin, three of them', async () => {
    const port = await serve((request, response) => {
      const hop = Number(request.url?.slice(1))
      if (hop === 0) response.end(keys)
      else response.writeHead(302, { location: `/${hop - 1}` }).end()
    })
    expect(await fetchText(`https://issuer.test:${port}/3`)).toBe(keys)
    expect(await reasonOf(`https://issuer.test:${port}/4`)).toBe('more than 3 redirects')
  })

  it.each([
    [
      'another host',
      (port: number) => `https://other.test:${port}/`,
      /^redirected to https:\/\/other\.test:\d+, another origin$/,
    ],
    ['another port', () => 'https://issuer.test:1/', /another origin$/],
    ['no TLS', (port: number) => `http://issuer.test:${port}/`, /^http: is not allowed/],
    [
      'a metadata service',
      () => 'https://169.254.169.254/latest/',
      /^the address 169\.254\.169\.254 is blocked$/,
    ],
    ['a file', () => 'file:///etc/passwd', /^file: is not allowed/],
  ])('does not follow a redirect to %s', async (_, location, reason) => {
    let port = 0
    port = await serve((__, response) => void response.writeHead(302, { location: location(port) }).end())
    expect(await reasonOf(`https://issuer.test:${port}/`)).toMatch(reason)
  })

  it('shows no secret of an address', async () => {
    const asked = createJwksFetcher()('https://user:secret@issuer.test/keys?token=secret', {
      timeoutMs: 100,
      signal: new AbortController().signal,
    })
    await expect(asked).rejects.toThrow(
      'keys of https://issuer.test/keys: a user name or password in the address',
    )
  })
})

describe('an address', () => {
  it.each([
    '127.0.0.1',
    '127.1.2.3',
    '0.0.0.0',
    '169.254.169.254',
    '169.254.0.1',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    'fe80::1',
    'fd00:ec2::254',
    'ff02::1',
    '::ffff:169.254.169.254',
    '::ffff:127.0.0.1',
    '::127.0.0.1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b::7f00:1',
    '64:ff9b:1::a9fe:a9fe',
    '::ffff:0:127.0.0.1',
    '2002:a9fe:a9fe::1',
    '2002:7f00:1::',
    '2002:6464:64c8::',
    // Teredo: metadata as the server, and, turned over, as the client; loopback as the client.
    '2001:0:a9fe:a9fe::1',
    '2001:0:808:808::5601:5601',
    '2001:0:808:808::80ff:fffe',
  ])('%s is not dialled, literal or by name', async address => {
    const literal = address.includes(':') ? `[${address}]` : address
    const none: JwksFetcherOptions = { allowedCidrs: [], lookup: resolver({ 'issuer.test': [address] }) }
    expect(await reasonOf(`https://${literal}:9/`, none)).toMatch(/^the address \S+ is blocked$/)
    expect(await reasonOf('https://issuer.test:9/', none)).toBe(`the address ${address} is blocked`)
  })

  it.each(['127.1', '0x7f.1', '2130706433', '0177.0.0.1', '127.0.0.1.'])(
    '%s is loopback in other words, and not dialled',
    async written => {
      const none: JwksFetcherOptions = { allowedCidrs: [] }
      expect(await reasonOf(`https://${written}:9/`, none)).toMatch(/is blocked$/)
    },
  )

  it('among several that is blocked blocks the name', async () => {
    const lookup = resolver({ 'issuer.test': ['127.0.0.1', '169.254.169.254'] })
    expect(await reasonOf('https://issuer.test:9/', { lookup })).toBe(
      'the address 169.254.169.254 is blocked',
    )
  })

  it('is the one that was checked: a name is resolved once', async () => {
    const port = await serve((_, response) => void response.end(keys))
    const lookup = resolver()
    await fetchText(`https://issuer.test:${port}/`, { lookup })
    expect(lookup.asked).toEqual(['issuer.test'])
  })

  it('can be blocked and allowed by block', async () => {
    const lookup = resolver({ 'issuer.test': ['10.1.2.3'] })
    const blocked = { lookup, blockedCidrs: ['10.0.0.0/8'] }
    expect(await reasonOf('https://issuer.test:9/', blocked)).toBe('the address 10.1.2.3 is blocked')
    expect(() => createJwksFetcher({ blockedCidrs: ['10.0.0/8'] })).toThrow(/invalid IP block/)
  })

  it.each([
    '10.1.2.3',
    '100.64.0.1',
    '172.16.0.1',
    '192.168.1.1',
    'fd12::1',
    'fc00::1',
    'fec0::1',
    '2002:a01:203::',
    '64:ff9b::10.1.2.3',
  ])('%s is private: dialled unless an option says no', async address => {
    const lookup = resolver({ 'issuer.test': [address] })
    expect(await reasonOf('https://issuer.test:9/', { lookup, blockPrivate: true })).toBe(
      `the address ${address} is blocked`,
    )
    const lists = { blockedCidrs: [], allowedCidrs: [] }
    expect(createAddressGuard({ ...lists, blockPrivate: false })(address)).toBe(false)
  })

  it('that leads to two is allowed for neither by an exception for the other', () => {
    const isBlocked = createAddressGuard({ blockedCidrs: [], allowedCidrs: loopback, blockPrivate: false })
    // Teredo: loopback as the server, metadata as the client.
    expect(isBlocked('2001:0:7f00:1::5601:5601')).toBe(true)
    expect(isBlocked('2001:0:7f00:1::f7f7:f7f7')).toBe(false)
    expect(isBlocked('2001:0:808:808::f7f7:f7f7')).toBe(false)
  })
})

describe('a source of keys', () => {
  const ask = async (source: ReturnType<typeof createJwksSource>, rule: object): Promise<string> => {
    const authenticator = createJwtAuthenticator([{ issuer: claims.iss, ...rule }], {
      jwks: source,
      now: () => now,
    })
    const header = (name: string): readonly string[] =>
      name === 'authorization' ? [`Bearer ${token()}`] : []
    const request = { method: 'GET', scheme: 'http', authority: 'a', path: '/', header }
    const outcome = await authenticator.authenticate(request)
    return outcome.kind === 'passed' ? 'passed' : outcome.body
  }

  it('verifies tokens with what an issuer publishes, found through its configuration too', async () => {
    let port = 0
    port = await serve((request, response) => {
      const isConfiguration = request.url === '/.well-known/openid-configuration'
      response.end(isConfiguration ? JSON.stringify({ jwks_uri: `https://issuer.test:${port}/keys` }) : keys)
    })
    const options = { ca: pem.cert, allowedCidrs: loopback, lookup: resolver() }
    const source = createJwksSource(options)
    expect(await ask(source, { jwksUri: `https://issuer.test:${port}/keys` })).toBe('passed')
    const found = await source.keys({ issuer: `https://issuer.test:${port}`, timeoutMs: 5_000 })
    expect(found).toMatchObject({ ok: true, keys: [{ keyId: 'rsa' }] })
    source.close()
  })

  it('refuses them while nobody answers, and says why', async () => {
    const port = await serve((_, response) => void response.writeHead(503).end())
    const errors: string[] = []
    const source = createJwksSource({
      ca: pem.cert,
      allowedCidrs: loopback,
      lookup: resolver(),
      onError: error => errors.push(error.message),
    })
    expect(await ask(source, { jwksUri: `https://issuer.test:${port}/keys` })).toBe(
      'Jwks remote fetch is failed',
    )
    expect(errors).toEqual([`keys of https://issuer.test:${port}/keys: status 503`])
    source.close()
  })
})
