/** Certificate requests: tricks a CA must see through, and OpenSSL as the independent other side where it is present. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type CertificateAuthority,
  createCertificateAuthority,
  createCertificateRequest,
} from '../src/index.ts'
import { readCertificate } from '../src/x509/certificate.ts'
import { readPem, readPemCertificates } from '../src/x509/pem.ts'

const DAY = 24 * 3_600_000
const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
const hasOpenssl = spawnSync('openssl', ['version']).status === 0

let ca: CertificateAuthority
let folder: string

beforeAll(async () => {
  ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
  folder = mkdtempSync(join(tmpdir(), 'ambient-csr-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const attempt = (csrPem: string, change: { ttlMs?: number; uri?: string } = {}): Promise<unknown> =>
  ca
    .sign({
      csrPem,
      id: change.uri === undefined ? WEB : parseSpiffeId(change.uri),
      ...(change.ttlMs === undefined ? {} : { ttlMs: change.ttlMs }),
    })
    .then(
      () => 'signed',
      error => `${error.code}: ${error.message}`,
    )

const leafOf = async (csrPem: string): Promise<ReturnType<typeof readCertificate>> => {
  const { chain } = await ca.sign({ csrPem, id: WEB })
  return readCertificate(readPemCertificates(chain[0] ?? '')[0] ?? new Uint8Array())
}

describe('the embedded CA', () => {
  it('signs, with a new serial each time', async () => {
    const { csrPem } = await createCertificateRequest(WEB)
    const serials = new Set<string>()
    for (let i = 0; i < 20; i += 1) serials.add((await leafOf(csrPem)).serial)
    expect(serials.size).toBe(20)
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9a-f]{31}$/)
  })

  it('refuses requests that prove nothing', async () => {
    const { csrPem } = await createCertificateRequest(WEB)
    const [block] = readPem(csrPem)
    const der = block?.der ?? new Uint8Array()
    const pem = (bytes: Uint8Array, label = 'CERTIFICATE REQUEST'): string =>
      `-----BEGIN ${label}-----\n${Buffer.from(bytes).toString('base64')}\n-----END ${label}-----\n`
    const changed = (at: number): Uint8Array => {
      const copy = Uint8Array.from(der)
      copy[at] = (copy[at] ?? 0) ^ 1
      return copy
    }
    expect(await attempt(pem(der))).toBe('signed')
    expect(await attempt(pem(changed(der.length - 1)))).toMatch(/not signed by its own key|does not fit/)
    for (let at = 0; at < der.length; at += 3)
      expect(await attempt(pem(changed(at))), `byte ${at}`).toMatch(/^AMBIENT_E_CERTIFICATE_REQUEST/)
    for (let length = 0; length < der.length; length += 5)
      expect(await attempt(pem(der.subarray(0, length))), `${length} bytes`).toMatch(
        /^AMBIENT_E_CERTIFICATE_REQUEST/,
      )
    expect(await attempt(pem(Buffer.concat([der, Buffer.from([5, 0])])))).toMatch(/2 bytes too many/)
    expect(await attempt(csrPem + csrPem)).toMatch(/2 PEM blocks/)
    expect(await attempt(pem(der, 'CERTIFICATE'))).toMatch(/another kind/)
    expect(await attempt('')).toMatch(/is not PEM/)
    expect(await attempt(`-----BEGIN CERTIFICATE REQUEST-----\n${csrPem}`)).toMatch(/blocks begin/)
    expect(await attempt(csrPem + ' '.repeat(65_536))).toMatch(/larger than 65536 bytes/)
  })

  it('refuses lifetimes and identities that are not its own to give', async () => {
    const { csrPem } = await createCertificateRequest(WEB)
    expect(await attempt(csrPem, { ttlMs: 90 * DAY })).toBe('signed')
    expect(await attempt(csrPem, { ttlMs: 90 * DAY + 1 })).toBe('signed')
    expect(await attempt(csrPem, { ttlMs: Number.NaN })).toMatch(/^AMBIENT_E_CA_TTL/)
    expect(await attempt(csrPem, { ttlMs: -1 })).toBe('signed')
    expect(await attempt(csrPem, { uri: 'spiffe://other/ns/shop/sa/web' })).toMatch(/^AMBIENT_E_CA_IDENTITY/)
    expect(await attempt(csrPem, { uri: 'spiffe://cluster.local' })).toMatch(/^AMBIENT_E_CA_IDENTITY/)
  })

  it('never signs past its own end', async () => {
    const clock = createManualClock()
    const short = await createCertificateAuthority({ trustDomain: 'td', clock, rootTtlMs: 2 * DAY })
    const id = parseSpiffeId('spiffe://td/ns/a/sa/b')
    const { csrPem } = await createCertificateRequest(id)
    const end = clock.now() + 2 * DAY
    clock.advance(1.5 * DAY)
    expect((await short.sign({ csrPem, id })).notAfter).toBe(end)
    clock.advance(DAY)
    await expect(short.sign({ csrPem, id })).rejects.toMatchObject({ code: 'AMBIENT_E_CA_TTL' })
  })

  it('refuses options that cannot work', async () => {
    for (const bad of [{ trustDomain: 'Not A Domain' }, { trustDomain: '' }])
      await expect(createCertificateAuthority(bad)).rejects.toMatchObject({
        code: 'AMBIENT_E_IDENTITY_OPTION',
      })
    for (const bad of [{ defaultTtlMs: 0 }, { defaultTtlMs: 91 * DAY }, { rootTtlMs: -1 }])
      await expect(createCertificateAuthority({ trustDomain: 'td', ...bad })).rejects.toMatchObject({
        code: 'AMBIENT_E_IDENTITY_OPTION',
      })
    await expect(ca.issueServerCertificate({ dnsNames: [], ipAddresses: [] })).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_OPTION',
    })
  })
})

describe.skipIf(!hasOpenssl)('with OpenSSL as the other side', () => {
  const openssl = (...args: string[]): string =>
    execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' }).toString()
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return name
  }
  /** A request made by OpenSSL, with whatever it was told to ask for. */
  const request = (key: readonly string[], ...more: string[]): string => {
    openssl('req', '-new', '-nodes', '-newkey', ...key, '-keyout', 'key.pem', '-out', 'csr.pem', ...more)
    return readFileSync(join(folder, 'csr.pem'), 'utf8')
  }

  it('our root, leaf and server certificates verify strictly there', async () => {
    const { chain } = await ca.sign({ ...(await createCertificateRequest(WEB)), id: WEB })
    const server = await ca.issueServerCertificate({
      dnsNames: ['istiod.istio-system.svc'],
      ipAddresses: ['127.0.0.1', '::1'],
    })
    write('root.pem', ca.rootPem)
    write('leaf.pem', chain[0] ?? '')
    write('server.pem', server.certificateChain)
    for (const purpose of ['sslserver', 'sslclient'])
      expect(
        openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'root.pem', 'leaf.pem'),
      ).toContain('OK')
    for (const name of [
      ['-verify_hostname', 'istiod.istio-system.svc'],
      ['-verify_ip', '127.0.0.1'],
      ['-verify_ip', '::1'],
    ])
      expect(
        openssl('verify', '-purpose', 'sslserver', ...name, '-CAfile', 'root.pem', 'server.pem'),
      ).toContain('OK')
    const text = openssl('x509', '-in', 'leaf.pem', '-noout', '-text')
    expect(text).toMatch(
      /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/shop\/sa\/web\n/,
    )
    expect(text).toMatch(/Key Usage: critical\s+Digital Signature, Key Encipherment\n/)
    expect(text).toMatch(/Basic Constraints: critical\s+CA:FALSE\n/)
  })

  it('reads our request: empty subject, one critical SAN, own signature', async () => {
    write('ours.pem', (await createCertificateRequest(WEB)).csrPem)
    const text = openssl('req', '-in', 'ours.pem', '-noout', '-text', '-verify')
    expect(text).toMatch(/Subject: *\n/)
    expect(text).toMatch(
      /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/shop\/sa\/web\n/,
    )
  })

  it('its requests are signed for P-256, P-384 and RSA 2048, whatever names and powers they ask for', async () => {
    const keys: Record<string, readonly string[]> = {
      prime256v1: ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
      secp384r1: ['ec', '-pkeyopt', 'ec_paramgen_curve:secp384r1'],
      rsa: ['rsa:2048'],
      ed25519: ['ed25519'],
    }
    for (const [name, key] of Object.entries(keys)) {
      const csr = request(
        key,
        '-subj',
        '/O=Admins/CN=spiffe:\\/\\/cluster.local\\/ns\\/kube-system\\/sa\\/admin',
        '-addext',
        'subjectAltName=URI:spiffe://cluster.local/ns/kube-system/sa/admin,DNS:evil',
        '-addext',
        'basicConstraints=critical,CA:TRUE',
        '-addext',
        'keyUsage=keyCertSign',
      )
      const leaf = await leafOf(csr)
      expect(leaf.subjectIsEmpty, name).toBe(true)
      expect(leaf.basicConstraints?.ca).toBe(false)
      expect(leaf.keyUsage?.bits).toBe(0b101)
      expect(leaf.subjectAltName?.names.map(({ value }) => Buffer.from(value).toString())).toEqual([WEB.uri])
    }
  })

  it('its weak requests are refused', async () => {
    expect(await attempt(request(['rsa:1024'], '-subj', '/'))).toMatch(/1024 bits is weaker/)
    expect(await attempt(request(['ec', '-pkeyopt', 'ec_paramgen_curve:secp256k1'], '-subj', '/'))).toMatch(
      /secp256k1/,
    )
    expect(await attempt(request(['rsa:2048'], '-subj', '/', '-sha1'))).toMatch(/SHA-256 or better/)
  })
})
