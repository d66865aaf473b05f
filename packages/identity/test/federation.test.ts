/** Bundles of other trust domains: fetched from real HTTPS endpoints, by both profiles. */
import { once } from 'node:events'
import { createServer, type Server, type ServerOptions } from 'node:https'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseSpiffeId } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { createBundleEndpoint } from '../src/bundle/endpoint.ts'
import { createFederation, type FederationOptions, refreshDelay } from '../src/bundle/federation.ts'
import { formatSpiffeBundle, type SpiffeBundle } from '../src/bundle/spiffe-bundle.ts'
import { bundleLimits, federationDefaults } from '../src/defaults.ts'
import { createTestIdentities } from '../src/testing/index.ts'
import { readPemCertificates } from '../src/x509/pem.ts'

const NOW = Date.now()
const clock = createManualClock(NOW)
const partner = await createTestIdentities({ trustDomain: 'partner.example' })
const stranger = await createTestIdentities({ trustDomain: 'partner.example' })
const ENDPOINT = 'spiffe://partner.example/bundle-endpoint'
const web = await partner.ca.issueServerCertificate({ dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] })
const webTls = { cert: web.certificateChain, key: web.privateKey }

const bundle: SpiffeBundle = {
  trustDomain: 'partner.example',
  x509Authorities: readPemCertificates(partner.ca.rootPem),
  jwtAuthorities: new Map(),
  sequenceNumber: 5,
  refreshHintMs: 120_000,
  ignored: [],
}

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function serve(listener: RequestListener, tls: ServerOptions = webTls): Promise<string> {
  const server: Server = createServer(tls, listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push({
    close: () => {
      server.closeAllConnections()
      return new Promise(resolve => server.close(resolve))
    },
  })
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

async function svidTls(from = partner, id = ENDPOINT): Promise<ServerOptions> {
  const svid = await from.credentials(id)
  return { cert: svid.certificateChain, key: svid.privateKey() }
}

function follow(url: string, more: Partial<FederationOptions> & { spiffe?: SpiffeBundle | null } = {}) {
  const { spiffe, ...options } = more
  const federation = createFederation({
    endpoints: [
      {
        trustDomain: 'partner.example',
        url,
        profile:
          spiffe === undefined
            ? { kind: 'https_web', trustedCas: partner.ca.rootPem }
            : { kind: 'https_spiffe', endpointId: parseSpiffeId(ENDPOINT) },
        ...(spiffe ? { initialBundle: spiffe } : {}),
      },
    ],
    clock,
    random: () => 0.5,
    ...options,
  })
  open.push(federation)
  return federation
}

describe('https_web', () => {
  it('gives the bundle to whoever believes the endpoint’s CA', async () => {
    const federation = follow(await serve(createBundleEndpoint({ bundle: () => bundle })))
    const fetched = await federation.refresh('partner.example')
    expect(fetched).toMatchObject({
      trustDomain: 'partner.example',
      sequenceNumber: 5,
      refreshHintMs: 120_000,
    })
    expect(federation.federatedBundles().get('partner.example')).toBe(partner.ca.rootPem)
  })

  it('is refused by who does not', async () => {
    const url = await serve(createBundleEndpoint({ bundle: () => bundle }))
    const federation = follow(url, {
      endpoints: [{ trustDomain: 'partner.example', url, profile: { kind: 'https_web' } }],
    })
    await expect(federation.refresh('partner.example')).rejects.toMatchObject({
      code: 'AMBIENT_E_BUNDLE_ENDPOINT',
    })
    expect(federation.bundles().size).toBe(0)
  })

  it('follows redirects to https only, and not for ever', async () => {
    const target = await serve(createBundleEndpoint({ bundle: () => bundle }))
    const redirect = (location: string): Promise<string> =>
      serve((_, response) => void response.writeHead(302, { location }).end())
    await expect(follow(await redirect(target)).refresh('partner.example')).resolves.toMatchObject({
      sequenceNumber: 5,
    })
    for (const [location, message] of [
      [target.replace('https:', 'http:'), /not https/],
      [target.replace('//', '//user:pw@'), /has a user or a password/],
      ['https://', /not a URL/],
      ['/', /more than 3 redirects/],
    ] as const)
      await expect(follow(await redirect(location)).refresh('partner.example')).rejects.toThrow(message)
  })

  it.each<[string, RequestListener, RegExp]>([
    ['another status', (_, response) => void response.writeHead(503).end(), /answered with status 503/],
    ['a redirect to nowhere', (_, response) => void response.writeHead(302).end(), /status 302/],
    ['no JSON', (_, response) => void response.end('<html>'), /not JSON/],
    [
      'too much',
      (_, response) => void response.end('x'.repeat(bundleLimits.maxDocumentBytes + 1)),
      /larger than 1048576 bytes/,
    ],
    [
      'a document that is cut',
      (_, response) => {
        response.writeHead(200, { 'content-length': 1_000 }).write('{"keys":[')
        setImmediate(() => response.destroy())
      },
      /^the bundle endpoint of partner.example: the document was cut/,
    ],
  ])('%s is an error that leaves the last good bundle', async (_, listener, message) => {
    let good = true
    const endpoint = createBundleEndpoint({ bundle: () => bundle })
    const url = await serve((request, response) => (good ? endpoint : listener)(request, response))
    const federation = follow(url)
    await federation.refresh('partner.example')
    good = false
    await expect(federation.refresh('partner.example')).rejects.toThrow(message)
    expect(federation.bundles().get('partner.example')).toMatchObject({ sequenceNumber: 5 })
    expect(federation.status()).toMatchObject([{ problem: expect.stringMatching(message) }])
  })

  it('ends a request that gets no answer', async () => {
    const federation = follow(await serve(() => clock.advance(federationDefaults.requestTimeoutMs)))
    await expect(federation.refresh('partner.example')).rejects.toThrow(/no answer within 10000 ms/)
  })
})

describe('https_spiffe', () => {
  it('is proven by the bundle that is known so far', async () => {
    const url = await serve(createBundleEndpoint({ bundle: () => bundle }), await svidTls())
    const federation = follow(url, { spiffe: { ...bundle, sequenceNumber: 4 } })
    await expect(federation.refresh('partner.example')).resolves.toMatchObject({ sequenceNumber: 5 })
  })

  it('may stand in another trust domain, whose bundle is known from elsewhere', async () => {
    const host = await createTestIdentities({ trustDomain: 'host.example' })
    const id = 'spiffe://host.example/bundles'
    const url = await serve(createBundleEndpoint({ bundle: () => bundle }), await svidTls(host, id))
    const federation = follow(url, {
      endpoints: [
        {
          trustDomain: 'partner.example',
          url,
          profile: { kind: 'https_spiffe', endpointId: parseSpiffeId(id) },
        },
      ],
      knownBundle: domain =>
        domain === 'host.example'
          ? { ...bundle, trustDomain: domain, x509Authorities: readPemCertificates(host.ca.rootPem) }
          : undefined,
    })
    await expect(federation.refresh('partner.example')).resolves.toMatchObject({ sequenceNumber: 5 })
  })

  it('sends nothing to an endpoint that does not prove itself', async () => {
    let requests = 0
    const listener: RequestListener = (_, response) => {
      requests += 1
      response.end(formatSpiffeBundle(bundle))
    }
    const wrongId = await serve(listener, await svidTls(partner, 'spiffe://partner.example/somebody'))
    await expect(follow(wrongId, { spiffe: bundle }).refresh('partner.example')).rejects.toThrow(
      /expected spiffe:\/\/partner.example\/bundle-endpoint/,
    )
    const wrongCa = await serve(listener, await svidTls(stranger))
    await expect(follow(wrongCa, { spiffe: bundle }).refresh('partner.example')).rejects.toThrow(
      /no certificate of the trust bundle leads to it/,
    )
    await expect(follow(wrongCa, { spiffe: null }).refresh('partner.example')).rejects.toThrow(
      /no bundle is known that could prove its endpoint/,
    )
    expect(requests).toBe(0)
  })
})

describe('a federation that was started', () => {
  it('asks again when the hint says so, tells what has changed, and takes nothing older', async () => {
    let served: SpiffeBundle = bundle
    let told: () => void = () => {}
    const url = await serve((request, response) => {
      createBundleEndpoint({ bundle: () => served })(request, response)
    })
    const federation = follow(url, {
      logger: { debug() {}, info: () => told(), warn: () => told(), error() {} },
    })
    const changes: SpiffeBundle[] = []
    federation.watch(changed => void changes.push(changed))
    const next = (): Promise<void> =>
      new Promise(resolve => {
        told = resolve
      })
    let turn = next()
    federation.start()
    await turn
    await expect.poll(() => federation.status()[0]?.nextRefresh).toBe(clock.now() + 120_000)
    served = {
      ...bundle,
      sequenceNumber: 6,
      x509Authorities: [...bundle.x509Authorities, ...readPemCertificates(stranger.ca.rootPem)],
    }
    turn = next()
    clock.advance(120_000)
    await turn
    expect(federation.bundles().get('partner.example')?.x509Authorities).toHaveLength(2)
    served = { ...bundle, sequenceNumber: 5 }
    await expect.poll(() => federation.status()[0]?.nextRefresh).toBe(clock.now() + 120_000)
    turn = next()
    clock.advance(120_000)
    await turn
    expect(federation.bundles().get('partner.example')).toMatchObject({ sequenceNumber: 6 })
    expect(changes.map(({ sequenceNumber }) => sequenceNumber)).toEqual([5, 6])
  })

  it('asks nobody once it is closed', async () => {
    const federation = follow(await serve(createBundleEndpoint({ bundle: () => bundle })))
    federation.start()
    await federation.close()
    await federation.close()
    await expect(federation.refresh('partner.example')).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_CLOSED',
    })
  })
})

it('bounds what publishers want', () => {
  expect([undefined, 0, 1, 90_000, 86_400_000].map(refreshDelay)).toEqual([
    federationDefaults.refreshMs,
    federationDefaults.minRefreshMs,
    federationDefaults.minRefreshMs,
    90_000,
    federationDefaults.maxRefreshMs,
  ])
})

it.each([
  ['a url without https', { url: 'http://a/' }, /not https/],
  ['a name that is no trust domain', { trustDomain: 'A' }, /trust domain characters/],
  ['the bundle of another domain', { initialBundle: { ...bundle, trustDomain: 'b' } }, /is that of b/],
])('refuses %s', (_, wrong, message) => {
  const endpoint = {
    trustDomain: 'partner.example',
    url: 'https://a/',
    profile: { kind: 'https_web' },
  } as const
  expect(() => createFederation({ endpoints: [{ ...endpoint, ...wrong }] })).toThrow(
    expect.objectContaining({
      code: 'AMBIENT_E_IDENTITY_OPTION',
      message: expect.stringMatching(message),
    }),
  )
})

it('a bundle endpoint answers GET and HEAD of its own path only', async () => {
  const url = await serve(createBundleEndpoint({ bundle: () => bundle, path: '/bundle' }))
  const status = async (path: string, method: string): Promise<number | undefined> => {
    const { request } = await import('node:https')
    const call = request(`${url}${path}`, { method, ca: partner.ca.rootPem, agent: false }).end()
    const [response] = await once(call, 'response')
    response.resume()
    return response.statusCode
  }
  expect(await status('bundle', 'GET')).toBe(200)
  expect(await status('bundle?x', 'HEAD')).toBe(200)
  expect(await status('bundle', 'POST')).toBe(405)
  expect(await status('', 'GET')).toBe(404)
})
