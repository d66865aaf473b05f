/** Who may ask a CA for what, over a real connection: tokens, certificates, and what is said to those who may not. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { status } from '@grpc/grpc-js'
import { type Logger, parseSpiffeId, silentLogger } from '@ambient/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  authenticateCallers,
  type CaServer,
  type CertificateAuthorityFolder,
  createCaServer,
  createCertificateAuthority,
  createCertificateAuthorityFiles,
  createCertificateRequest,
  createTokenFile,
  openCertificateAuthority,
  readTokens,
} from '../src/index.ts'
import { readCertificate } from '../src/x509/certificate.ts'
import { readPemCertificates } from '../src/x509/pem.ts'
import { callCa, type WireAnswer, type WireCall } from './ca-wire.ts'

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
const DB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/db')

let folder: string
let ca: CertificateAuthorityFolder
let server: CaServer
let port: number
const reasons: string[] = []
const logger: Logger = { ...silentLogger, warn: ({ reason }) => void reasons.push(String(reason)) }

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ambient-callers-'))
  await createCertificateAuthorityFiles({ dir: folder, trustDomain: 'cluster.local' })
  ca = await openCertificateAuthority({ dir: folder })
  const tokens = join(folder, 'tokens')
  writeFileSync(
    tokens,
    `web-token ${WEB.uri}\n# a node, and the one workload on it\nnode-token node n1 ${WEB.uri}\n`,
  )
  const authorize = authenticateCallers({ ca, tokens: createTokenFile(tokens) })
  server = createCaServer({ ca, host: '127.0.0.1', port: 0, logger, authorize })
  port = await server.start()
})
afterAll(async () => {
  await server.close()
  await server.close()
  await ca.close()
  rmSync(folder, { recursive: true })
})

const call = async (change: Partial<WireCall> & { token?: string }): Promise<WireAnswer> => {
  const headers: Record<string, string> =
    change.token === undefined ? {} : { authorization: `Bearer ${change.token}` }
  const { csrPem } = await createCertificateRequest(DB)
  return callCa({ port, rootPem: ca.rootPem, csr: csrPem, headers, ...change })
}

const uriOf = (answer: WireAnswer): string => {
  if (!('chain' in answer)) return answer.details
  const [der = new Uint8Array()] = readPemCertificates(answer.chain[0] ?? '')
  return (
    readCertificate(der)
      .subjectAltName?.names.map(({ value }) => Buffer.from(value).toString())
      .join() ?? ''
  )
}

const credentialsOf = async (
  signer: Pick<CertificateAuthorityFolder, 'sign'>,
): Promise<{ chain: string; key: string }> => {
  const { csrPem, privateKey } = await createCertificateRequest(WEB)
  const { chain } = await signer.sign({ csrPem, id: WEB })
  return { chain: chain.slice(0, -1).join(''), key: privateKey }
}

describe('a caller', () => {
  it('with a token of a workload gets that workload’s certificate, whatever it asks for', async () => {
    expect(uriOf(await call({ token: 'web-token' }))).toBe(WEB.uri)
    expect(uriOf(await call({ token: 'web-token', metadata: { ImpersonatedIdentity: WEB.uri } }))).toBe(
      WEB.uri,
    )
    expect(uriOf(await call({ token: 'web-token', metadata: { ImpersonatedIdentity: DB.uri } }))).toBe(
      'request impersonation authentication failure',
    )
    expect(reasons.at(-1)).toBe(`${WEB.uri} may not ask for ${DB.uri}`)
  })

  it('with a token of a node gets what is listed for it, and nothing for itself', async () => {
    expect(uriOf(await call({ token: 'node-token', metadata: { ImpersonatedIdentity: WEB.uri } }))).toBe(
      WEB.uri,
    )
    for (const metadata of [
      { ImpersonatedIdentity: DB.uri },
      { ImpersonatedIdentity: 'spiffe://other/ns/a/sa/b' },
      {},
    ])
      expect(await call({ token: 'node-token', metadata })).toMatchObject({ code: status.UNAUTHENTICATED })
    expect(reasons.slice(-3)).toEqual([
      `node n1 may not ask for ${DB.uri}: it does not run on n1`,
      'node n1 may not ask for spiffe://other/ns/a/sa/b',
      'node n1 has no identity of its own',
    ])
  })

  it('with the certificate that it has gets the next one', async () => {
    const certificate = await credentialsOf(ca)
    expect(uriOf(await call({ certificate }))).toBe(WEB.uri)
    expect(await call({ certificate, token: 'guessed' }), 'a wrong token is not mended').toMatchObject({
      code: status.UNAUTHENTICATED,
      details: 'request authenticate failure',
    })
    expect(reasons.at(-1)).toBe('the token is not among those that are known')
  })

  it('with a certificate of before a rotation gets one of after it', async () => {
    const certificate = await credentialsOf(ca)
    await ca.rotateIntermediate()
    expect(uriOf(await call({ certificate }))).toBe(WEB.uri)
    const [leaf = ''] = certificate.chain.split(/(?<=-----END CERTIFICATE-----\n)/)
    expect(await call({ certificate: { ...certificate, chain: leaf } })).toMatchObject({
      code: status.UNAUTHENTICATED,
    })
    const next = await credentialsOf(ca)
    const [nextLeaf = ''] = next.chain.split(/(?<=-----END CERTIFICATE-----\n)/)
    // The platform leads no leaf without its intermediate to a root, so that nobody is asked about it.
    expect(await call({ certificate: { ...next, chain: nextLeaf } })).toMatchObject({
      code: status.UNAUTHENTICATED,
    })
  })

  it('with nothing, or with a certificate of another CA, gets nothing', async () => {
    expect(await call({})).toMatchObject({ code: status.UNAUTHENTICATED })
    const other = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    expect(await call({ certificate: await credentialsOf(other) })).toMatchObject({
      code: status.UNAUTHENTICATED,
    })
    expect(reasons.slice(-2)).toEqual(
      Array.from({ length: 2 }, () => 'no token and no certificate was shown'),
    )
  })

  it('with a certificate that was revoked gets nothing', async () => {
    const certificate = await credentialsOf(ca)
    const other = await openCertificateAuthority({ dir: folder })
    await other.revoke(
      `${certificate.chain.slice(0, certificate.chain.indexOf('-----END'))}-----END CERTIFICATE-----\n`,
    )
    await other.close()
    expect(await call({ certificate })).toMatchObject({ code: status.UNAUTHENTICATED })
    expect(reasons.at(-1)).toMatch(/^the caller's certificate is not believed: leaf .*was revoked$/)
  })

  it('is judged by the token file as it is now, and by none that cannot be read', async () => {
    const path = join(folder, 'tokens')
    writeFileSync(path, `other-token ${DB.uri}\n`)
    expect(uriOf(await call({ token: 'other-token' }))).toBe(DB.uri)
    expect(await call({ token: 'web-token' })).toMatchObject({ code: status.UNAUTHENTICATED })
    rmSync(path)
    expect(await call({ token: 'other-token' })).toMatchObject({ code: status.UNAUTHENTICATED })
    expect(reasons.at(-1)).toMatch(/^the authorizer failed: .*tokens: ENOENT/)
  })

  it('meets a server whose certificate follows the root', async () => {
    const old = ca.rootPem
    await ca.rotateRoot('add')
    await ca.rotateRoot('sign')
    await ca.rotateRoot('drop')
    const certificate = await credentialsOf(ca)
    await expect.poll(async () => uriOf(await call({ certificate }))).toBe(WEB.uri)
    expect(await call({ certificate, rootPem: old })).toMatchObject({ code: status.UNAVAILABLE })
  })
})

describe('a file of tokens', () => {
  it('says which line is wrong, and never quotes a token', () => {
    for (const [text, reason] of [
      ['secret', /tokens, line 1: expected TOKEN SPIFFE_ID or TOKEN node NAME$/],
      [`ok ${WEB.uri}\n\nsecret not-an-id`, /tokens, line 3: expected a SPIFFE ID: scheme/],
      ['secret node', /expected the name of a node/],
      ['secret spiffe://cluster.local', /names a trust domain, not a workload/],
      [`secret ${WEB.uri}\nsecret ${DB.uri}`, /line 2: the token of an earlier line/],
      [`secret ${WEB.uri} more`, /expected TOKEN SPIFFE_ID/],
    ] as const) {
      expect(() => readTokens(text), text).toThrow(reason)
      expect(() => readTokens(text), text).not.toThrow(/secret/)
    }
    expect([...readTokens('secret node n1').keys()].join()).not.toContain('secret')
  })
})
