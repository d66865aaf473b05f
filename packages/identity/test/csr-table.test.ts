/** The 25 tricks with certificate requests, each over the wire, and by the function that decides where there is one. */
import { generateKeyPairSync, sign } from 'node:crypto'
import { status } from '@grpc/grpc-js'
import { parseSpiffeId, type SpiffeId } from '@ambient/core'
import { generateKeyPair, exportJWK, type JWTPayload, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  authenticateCallers,
  type CaServer,
  type CertificateAuthority,
  createCaServer,
  createCertificateAuthority,
  createCertificateRequest,
  createIstioCaClient,
  readTokens,
} from '../src/index.ts'
import { caDefaults } from '../src/defaults.ts'
import { checkIssuedChain } from '../src/istio/issued-chain.ts'
import { readCertificate } from '../src/x509/certificate.ts'
import { readRequestedKey } from '../src/x509/csr.ts'
import { formatPem, readPem, readPemCertificates } from '../src/x509/pem.ts'
import { serve } from './ca-bench.ts'
import { addFakeCa, callCa, type WireAnswer, type WireCall } from './ca-wire.ts'
import { createTrickRequest } from './trick-request.ts'

const TD = 'cluster.local'
const id = (path: string): SpiffeId => parseSpiffeId(`spiffe://${TD}/${path}`)
const WEB = id('ns/shop/sa/web')
const OTHER = id('ns/shop/sa/other')
const LEFT = id('ns/shop/sa/left')
const TOKENS = `web-token ${WEB.uri}\nother-token ${OTHER.uri}\nnode-token node n1\n`
const HOUR = 3_600_000

let ca: CertificateAuthority
let server: CaServer
let port: number
let signToken: (claims: JWTPayload, audience: string) => Promise<string>

beforeAll(async () => {
  // One that ends soon, so that every lifetime is longer.
  ca = await createCertificateAuthority({ trustDomain: TD, intermediate: true, rootTtlMs: 12 * HOUR })
  const keys = await generateKeyPair('ES256')
  const jwks = { keys: [{ ...(await exportJWK(keys.publicKey)), kid: 'k', alg: 'ES256' }] }
  signToken = (claims, audience) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .setIssuer('https://kubernetes')
      .setAudience(audience)
      .setExpirationTime('1h')
      .sign(keys.privateKey)
  server = createCaServer({
    ca,
    host: '127.0.0.1',
    port: 0,
    authorize: authenticateCallers({
      ca,
      tokens: () => readTokens(TOKENS),
      projectedTokens: { jwks: () => jwks, issuer: 'https://kubernetes', audience: 'istio-ca' },
      runsOn: (node, workload) => node === 'n1' && workload.uri === WEB.uri,
    }),
  })
  port = await server.start()
})
afterAll(() => server.close())

const call = async (change: Partial<WireCall> & { token?: string } = {}): Promise<WireAnswer> =>
  callCa({
    port,
    rootPem: ca.rootPem,
    csr: change.csr ?? (await createCertificateRequest(WEB)).csrPem,
    headers: { authorization: `Bearer ${change.token ?? 'web-token'}` },
    ...change,
  })

const asNode = (impersonated: unknown, token = 'node-token'): Promise<WireAnswer> =>
  call({ token, metadata: { ImpersonatedIdentity: impersonated } })

const leafOf = (answer: WireAnswer): ReturnType<typeof readCertificate> => {
  if (!('chain' in answer)) throw new Error(`refused: ${answer.details}`)
  return readCertificate(readPemCertificates(answer.chain[0] ?? '')[0] ?? new Uint8Array())
}
const urisOf = (answer: WireAnswer): string[] =>
  leafOf(answer).subjectAltName?.names.map(({ value }) => Buffer.from(value).toString('latin1')) ?? []

const UNUSABLE = status.INVALID_ARGUMENT
const STRANGER = status.UNAUTHENTICATED
const OPAQUE = 'request impersonation authentication failure'

/** An element of fewer than 64 KiB. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), content])
}

describe('a request with', () => {
  it('1: a signature that is not its own', async () => {
    const [block] = readPem((await createCertificateRequest(WEB)).csrPem)
    const der = Uint8Array.from(block?.der ?? [])
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1
    const csr = formatPem('CERTIFICATE REQUEST', der)
    expect(() => readRequestedKey(csr)).toThrow(/not signed by its own key|does not fit/)
    expect(await call({ csr })).toMatchObject({ code: UNUSABLE })
  })

  it('2: the key of another identity', async () => {
    const { csrPem: csr } = await createCertificateRequest(WEB)
    expect(urisOf(await call({ csr }))).toEqual([WEB.uri])
    expect(urisOf(await call({ csr })), 'a renewal with the same key').toEqual([WEB.uri])
    await expect(ca.sign({ csrPem: csr, id: OTHER })).rejects.toThrow(/key that another identity has/)
    expect(await call({ csr, token: 'other-token' })).toMatchObject({ code: UNUSABLE })
  })

  it('2: the same key in another form', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const point = publicKey.export({ type: 'spki', format: 'der' }).subarray(-65)
    const curve = Buffer.from('301306072a8648ce3d020106082a8648ce3d030107', 'hex')
    const short = Buffer.concat([Buffer.from([2 + (point.readUInt8(64) & 1)]), point.subarray(1, 33)])
    for (const [form, id, outcome] of [
      [point, WEB, 'resolves'],
      [short, OTHER, 'rejects'],
    ] as const) {
      const spki = der(0x30, curve, der(0x03, Buffer.from([0]), form))
      const signed = der(0x30, Buffer.from('0201003000', 'hex'), spki, Buffer.from('a000', 'hex'))
      const algorithm = der(0x30, Buffer.from('06082a8648ce3d040302', 'hex'))
      const signature = der(0x03, Buffer.from([0]), sign('sha256', signed, privateKey))
      const csrPem = formatPem('CERTIFICATE REQUEST', der(0x30, signed, algorithm, signature))
      const answer = expect(ca.sign({ csrPem, id }))
      if (outcome === 'resolves') await answer.resolves.toHaveProperty('chain')
      else await answer.rejects.toThrow(/key that another identity has/)
    }
  })

  it('3: a weak key', async () => {
    const csr = await createTrickRequest({ key: generateKeyPairSync('rsa', { modulusLength: 1024 }) })
    expect(() => readRequestedKey(csr)).toThrow(/1024 bits is weaker/)
    expect(await call({ csr })).toMatchObject({ code: UNUSABLE, details: expect.stringMatching(/1024 bits/) })
  })

  it('4: the name of somebody else', async () => {
    const csr = await createTrickRequest({ uris: [id('ns/kube-system/sa/admin').uri] })
    expect(urisOf(await call({ csr }))).toEqual([WEB.uri])
  })

  it('5: two identities in one', async () => {
    const both = `${WEB.uri},${id('ns/shop/sa/admin').uri}`
    expect(() => parseSpiffeId(both)).toThrow()
    expect(await asNode(both)).toMatchObject({ code: STRANGER, details: OPAQUE })
  })

  it('6: a common name', async () => {
    const answer = await call({ csr: await createTrickRequest({ subject: 'O=system:masters, CN=admin' }) })
    expect(leafOf(answer).subjectIsEmpty).toBe(true)
  })

  it('7: CA:TRUE', async () => {
    const answer = await call({ csr: await createTrickRequest({ isCa: true }) })
    expect(leafOf(answer).basicConstraints).toEqual({ ca: false, pathLength: undefined })
  })

  it('8: keyCertSign', async () => {
    expect(leafOf(await call({ csr: await createTrickRequest({ isCa: true }) })).keyUsage).toEqual({
      critical: true,
      bits: 0b101,
    })
  })

  it('9: the purpose of signing code', async () => {
    const answer = await call({ csr: await createTrickRequest({ purposes: ['1.3.6.1.5.5.7.3.3'] }) })
    expect(leafOf(answer).extendedKeyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  })

  it('10: an absurd lifetime', async () => {
    const { csrPem } = await createCertificateRequest(WEB)
    const signed = await ca.sign({ csrPem, id: WEB, ttlMs: Number.MAX_VALUE })
    expect(signed.notAfter - Date.now()).toBeLessThanOrEqual(caDefaults.maxTtlMs)
    const leaf = leafOf(await call({ seconds: 2n ** 63n - 1n }))
    expect(leaf.notAfter - leaf.notBefore).toBeLessThanOrEqual(caDefaults.maxTtlMs + caDefaults.backdateMs)
  })

  for (const [number, seconds] of [
    ['11: a lifetime of zero', 0n],
    ['12: a negative lifetime', -(2n ** 63n)],
  ] as const)
    it(number, async () => {
      const { notBefore, notAfter } = leafOf(await call({ seconds }))
      expect(notAfter).toBeGreaterThan(Date.now())
      expect(notAfter - notBefore).toBeLessThanOrEqual(25 * HOUR)
    })

  it('13: a lifetime past its signer’s own end', async () => {
    const [root] = readPemCertificates(ca.rootPem)
    const end = readCertificate(root ?? new Uint8Array()).notAfter
    const { csrPem } = await createCertificateRequest(WEB)
    expect((await ca.sign({ csrPem, id: WEB, ttlMs: 48 * HOUR })).notAfter).toBe(end)
    expect(leafOf(await call({ seconds: 48n * 3_600n })).notAfter).toBe(end)
  })

  it('14: a serial number that was used', async () => {
    const { csrPem: csr } = await createCertificateRequest(WEB)
    const answers = await Promise.all(Array.from({ length: 20 }, () => call({ csr })))
    expect(new Set(answers.map(answer => leafOf(answer).serial)).size).toBe(20)
  })

  it('15: a megabyte', async () => {
    const csr = `${(await createCertificateRequest(WEB)).csrPem}${' '.repeat(1_000_000)}`
    expect(() => readRequestedKey(csr)).toThrow(/larger than 65536 bytes/)
    expect(await call({ csr })).toMatchObject({ code: UNUSABLE })
  })

  it('16: a second PEM block', async () => {
    const csr = (await createCertificateRequest(WEB)).csrPem + (await createCertificateRequest(OTHER)).csrPem
    expect(() => readRequestedKey(csr)).toThrow(/2 PEM blocks/)
    expect(await call({ csr })).toMatchObject({ code: UNUSABLE })
  })

  it('17: a token that was meant for somebody else', async () => {
    const claims = { sub: 'system:serviceaccount:shop:web', 'kubernetes.io': { namespace: 'shop' } }
    expect(urisOf(await call({ token: await signToken(claims, 'istio-ca') }))).toEqual([WEB.uri])
    expect(await call({ token: await signToken(claims, 'vault') })).toEqual(
      expect.objectContaining({ code: STRANGER, details: 'request authenticate failure' }),
    )
  })

  it('18: the identity of a pod that left the node', async () => {
    expect(urisOf(await asNode(WEB.uri))).toEqual([WEB.uri])
    expect(await asNode(LEFT.uri)).toMatchObject({ code: STRANGER, details: OPAQUE })
    const claims = {
      sub: 'system:serviceaccount:istio-system:ztunnel',
      'kubernetes.io': { namespace: 'istio-system', node: { name: 'n2' } },
    }
    const elsewhere = await signToken(claims, 'istio-ca')
    expect(await asNode(WEB.uri, elsewhere), 'a ztunnel of another node').toMatchObject({ code: STRANGER })
  })

  for (const [name, value] of [
    ['19: a list as impersonated identity', [WEB.uri]],
    ['20: a struct as impersonated identity', { uri: WEB.uri }],
  ] as const)
    it(name, async () => expect(await asNode(value)).toMatchObject({ code: STRANGER, details: OPAQUE }))
})

describe('an answer with', () => {
  /** What the client of a CA says to such an answer, and what the check says that it rests on. */
  const verdicts = async (
    spoil: (chain: readonly string[]) => Promise<readonly string[]>,
  ): Promise<string[]> => {
    const fake = await serve(ca, grpc =>
      addFakeCa(grpc, async ({ csr }) => spoil((await ca.sign({ csrPem: csr, id: WEB })).chain)),
    )
    const client = createIstioCaClient({
      address: `https://127.0.0.1:${fake.port}`,
      rootPem: () => ca.rootPem,
      clusterId: 'Kubernetes',
      impersonate: true,
    })
    const { csrPem } = await createCertificateRequest(WEB)
    const text = (error: Error): string => error.message
    try {
      const wire = await client.sign({ id: WEB, csrPem, ttlMs: HOUR }).then(() => 'accepted', text)
      const chain = await spoil((await ca.sign({ csrPem, id: WEB })).chain)
      const check = { chain, id: WEB, publicKey: readRequestedKey(csrPem), now: Date.now() }
      return [
        wire,
        await Promise.resolve(check)
          .then(checkIssuedChain)
          .then(() => 'accepted', text),
      ]
    } finally {
      await client.close()
      fake.close()
    }
  }
  const sign = async (of: SpiffeId): Promise<readonly string[]> =>
    (await ca.sign({ ...(await createCertificateRequest(of)), id: of })).chain

  const rows: [string, RegExp, (chain: readonly string[]) => Promise<readonly string[]>][] = [
    ['21: a leaf for another key', /another key/, () => sign(WEB)],
    ['22: a leaf for another identity', /another key|expected/, () => sign(OTHER)],
    ['23: nothing in it', /the chain is empty/, async () => []],
    ['24: the root first', /another key/, async chain => [...chain].reverse()],
    [
      '25: all roots in its last element',
      /^accepted$/,
      async chain => [
        ...chain.slice(0, -1),
        (await createCertificateAuthority({ trustDomain: TD })).rootPem + (chain.at(-1) ?? ''),
      ],
    ],
  ]
  for (const [name, reason, spoil] of rows)
    it(name, async () => {
      for (const verdict of await verdicts(spoil)) expect(verdict).toMatch(reason)
    })
})
