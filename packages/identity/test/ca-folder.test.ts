/** A CA in a folder: its files, its rotations and its lists, as its own reader and OpenSSL see them. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type CaKeyType,
  type CertificateAuthorityFolder,
  createCertificateAuthorityFiles,
  createCertificateRequest,
  createCrlFile,
  openCertificateAuthority,
  verifyPeerChain,
} from '../src/index.ts'
import { readCertificate } from '../src/x509/certificate.ts'
import { readPemCertificates } from '../src/x509/pem.ts'

const WEB = parseSpiffeId('spiffe://td.example/ns/shop/sa/web')
const hasOpenssl = spawnSync('openssl', ['version']).status === 0
const DAY = 86_400_000

const folders: string[] = []
const opened: CertificateAuthorityFolder[] = []
afterEach(async () => {
  for (const ca of opened.splice(0)) await ca.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-ca-'))
  folders.push(folder)
  return folder
}

async function openAt(
  dir: string,
  options: Partial<Parameters<typeof openCertificateAuthority>[0]> = {},
): Promise<CertificateAuthorityFolder> {
  const ca = await openCertificateAuthority({ dir, ...options })
  opened.push(ca)
  return ca
}

async function newCa(keyType?: CaKeyType): Promise<CertificateAuthorityFolder> {
  const dir = newFolder()
  await createCertificateAuthorityFiles({
    dir,
    trustDomain: 'td.example',
    ...(keyType === undefined ? {} : { keyType }),
  })
  return openAt(dir)
}

/** Leaf and intermediates in DER, and the roots that came along. */
async function issue(
  ca: CertificateAuthorityFolder,
): Promise<{ chain: Uint8Array[]; roots: string; pem: string }> {
  const { chain } = await ca.sign({ ...(await createCertificateRequest(WEB)), id: WEB })
  return {
    pem: chain[0] ?? '',
    chain: chain.slice(0, -1).flatMap(pem => readPemCertificates(pem)),
    roots: chain.at(-1) ?? '',
  }
}

const verdict = (
  chain: readonly Uint8Array[],
  trustBundle: string,
  more: Partial<Parameters<typeof verifyPeerChain>[0]> = {},
): string => {
  const result = verifyPeerChain({
    chain,
    trustBundle,
    ownTrustDomain: 'td.example',
    expect: { kind: 'one-of', ids: [WEB] },
    now: Date.now(),
    ...more,
  })
  return result.ok ? 'ok' : result.reason
}

describe('a CA in a folder', () => {
  it('has the files of Istio’s plugin CA, and keys that only their owner reads', async () => {
    const ca = await newCa()
    expect(readdirSync(ca.dir).sort()).toEqual([
      'ca-cert.pem',
      'ca-key.pem',
      'ca.json',
      'cert-chain.pem',
      'crl.pem',
      'root-cert.pem',
      'root-key.pem',
    ])
    for (const name of readdirSync(ca.dir))
      expect(statSync(join(ca.dir, name)).mode & 0o777, name).toBe(/-key\.pem$/.test(name) ? 0o600 : 0o644)
    expect(ca.trustDomain).toBe('td.example')
    expect(ca.rootPem).toBe(readFileSync(join(ca.dir, 'root-cert.pem'), 'utf8'))
    const { chain, roots } = await issue(ca)
    expect(chain).toHaveLength(2)
    expect(readCertificate(chain[1] ?? new Uint8Array()).basicConstraints).toEqual({
      ca: true,
      pathLength: 0,
    })
    expect(verdict(chain, roots)).toBe('ok')
    expect(verdict(chain.slice(0, 1), roots)).toContain('no certificate of the trust bundle leads to it')
  })

  for (const keyType of ['P-384', 'RSA-2048'] as const)
    it(`signs with keys of ${keyType}`, async () => {
      const { chain, roots } = await issue(await newCa(keyType))
      expect(verdict(chain, roots)).toBe('ok')
    })

  it('is not made twice in one folder', async () => {
    const ca = await newCa()
    await expect(
      createCertificateAuthorityFiles({ dir: ca.dir, trustDomain: 'td.example' }),
    ).rejects.toMatchObject({
      code: 'AMBIENT_E_CA_FILES',
      message: expect.stringContaining('holds ca-cert.pem'),
    })
    await expect(openAt(newFolder())).rejects.toMatchObject({ code: 'AMBIENT_E_CA_FILES' })
    await expect(openAt(ca.dir, { trustDomain: 'other' })).rejects.toThrow(
      /trust domain td\.example, not of other/,
    )
  })

  it.skipIf(process.platform === 'win32')('is refused when others may read a key of it', async () => {
    const ca = await newCa()
    chmodSync(join(ca.dir, 'ca-key.pem'), 0o640)
    await expect(openAt(ca.dir)).rejects.toMatchObject({
      code: 'AMBIENT_E_CA_FILES',
      message: expect.stringMatching(/ca-key\.pem: others may read this key \(mode 0640, not 0600\)/),
    })
    chmodSync(join(ca.dir, 'ca-key.pem'), 0o600)
    chmodSync(join(ca.dir, 'root-key.pem'), 0o604)
    await expect(ca.rotateIntermediate()).rejects.toThrow(/root-key\.pem: others may read/)
  })

  it('is refused when its files are not of one CA, and quotes no key', async () => {
    const [one, other] = [await newCa(), await newCa()]
    const key = readFileSync(join(other.dir, 'ca-key.pem'), 'utf8')
    writeFileSync(join(one.dir, 'ca-key.pem'), key)
    const error = await openAt(one.dir).catch((failure: unknown) => failure)
    expect(error).toMatchObject({
      code: 'AMBIENT_E_CA_FILES',
      message: expect.stringContaining('do not belong together'),
    })
    writeFileSync(join(one.dir, 'ca-key.pem'), key.replace(/[A-Z]{2}/, '!!'))
    const broken = await openAt(one.dir).catch((failure: unknown) => failure)
    expect(broken).toMatchObject({ code: 'AMBIENT_E_PRIVATE_KEY' })
    expect(String(broken) + JSON.stringify(broken)).not.toContain(key.split('\n')[1]?.slice(0, 20))
    // What is open goes on with what it was.
    writeFileSync(join(one.dir, 'ca.json'), '{')
    expect(verdict((await issue(one)).chain, one.rootPem)).toBe('ok')
  })

  it('gives no leaf that outlives its intermediate', async () => {
    const clock = createManualClock(Date.UTC(2026, 5, 1))
    const dir = newFolder()
    await createCertificateAuthorityFiles({ dir, trustDomain: 'td.example', intermediateTtlMs: DAY, clock })
    const ca = await openAt(dir, { clock })
    clock.advance(DAY / 2)
    const { csrPem } = await createCertificateRequest(WEB)
    expect((await ca.sign({ csrPem, id: WEB })).notAfter).toBe(Date.UTC(2026, 5, 2))
    clock.advance(DAY)
    await expect(ca.sign({ csrPem, id: WEB })).rejects.toMatchObject({ code: 'AMBIENT_E_CA_TTL' })
  })
})

describe('the rotation of a root', () => {
  it('has three steps, in which old and new are believed as they have to be', async () => {
    const ca = await newCa()
    const serving = await openAt(ca.dir)
    let changes = 0
    serving.watch(() => {
      changes += 1
    })
    const before = await issue(serving)

    expect(await ca.rotateRoot()).toEqual({ step: 'add', next: 'sign', roots: 2 })
    const added = await issue(serving)
    expect(readPemCertificates(added.roots)).toHaveLength(2)
    expect(verdict(added.chain, before.roots), 'the old root still signs').toBe('ok')

    await expect(ca.rotateRoot('drop')).rejects.toThrow(/next step of the root's rotation is sign/)
    expect(await ca.rotateRoot('sign')).toEqual({ step: 'sign', next: 'drop', roots: 2 })
    const signed = await issue(serving)
    expect(verdict(signed.chain, added.roots), 'who has both roots believes the new one').toBe('ok')
    expect(verdict(before.chain, signed.roots), 'and the old one').toBe('ok')
    expect(verdict(signed.chain, before.roots)).not.toBe('ok')

    expect(await ca.rotateRoot()).toEqual({ step: 'drop', next: 'add', roots: 1 })
    const dropped = await issue(serving)
    expect(verdict(signed.chain, dropped.roots)).toBe('ok')
    expect(verdict(before.chain, dropped.roots), 'the old root is gone').not.toBe('ok')
    expect(readdirSync(join(ca.dir, 'retired'))).toEqual([])
    expect(changes).toBe(3)
    expect((await ca.rotateRoot()).step).toBe('add')
  })

  it('replaces an intermediate, and both are good', async () => {
    const ca = await newCa()
    const before = await issue(ca)
    await ca.rotateIntermediate()
    const after = await issue(ca)
    expect(after.chain[1]).not.toEqual(before.chain[1])
    expect(verdict(before.chain, after.roots)).toBe('ok')
    expect(verdict(after.chain, before.roots)).toBe('ok')
  })

  it('knows the intermediates that were replaced, also when it is opened anew', async () => {
    const ca = await newCa()
    const [first = ''] = ca.intermediates
    await ca.rotateIntermediate()
    const [second = ''] = ca.intermediates
    expect(ca.formerIntermediates).toEqual([first])
    expect((await openAt(ca.dir)).formerIntermediates).toEqual([first])
    await ca.rotateRoot()
    await ca.rotateRoot()
    const { formerIntermediates } = await openAt(ca.dir)
    expect([...formerIntermediates].sort()).toEqual([first, second].sort())
  })

  it('is done by one process at a time', async () => {
    const ca = await newCa()
    const others = await Promise.all(Array.from({ length: 3 }, () => openAt(ca.dir)))
    const steps = await Promise.all(others.map(one => one.rotateRoot()))
    expect(steps.map(({ step }) => step).sort()).toEqual(['add', 'drop', 'sign'])
    expect(existsSync(join(ca.dir, '.lock'))).toBe(false)
    expect(verdict((await issue(ca)).chain, ca.rootPem)).toBe('ok')
  })

  it('is not held up by the lock of a process that died', async () => {
    const ca = await newCa()
    const dead = spawnSync(process.execPath, ['-e', '']).pid
    writeFileSync(join(ca.dir, '.lock'), String(dead))
    expect((await ca.rotateRoot()).step).toBe('add')
  })
})

describe('revocation', () => {
  const problem = async (ca: CertificateAuthorityFolder, chain: readonly Uint8Array[]): Promise<string> => {
    const lists = createCrlFile({ path: join(ca.dir, 'crl.pem'), mode: 'require' })
    await lists.ready
    try {
      return verdict(chain, ca.rootPem, { revocations: lists.revocations })
    } finally {
      await lists.close()
    }
  }

  it('puts a certificate on the list of its issuer, by itself or by its number', async () => {
    const ca = await newCa()
    const [first, second, third] = [await issue(ca), await issue(ca), await issue(ca)]
    expect(await problem(ca, first.chain), 'a strict reader has every list').toBe('ok')
    const serial = await ca.revoke(first.pem)
    expect(serial).toBe(readCertificate(first.chain[0] ?? new Uint8Array()).serial)
    expect(await problem(ca, first.chain)).toMatch(/revoked/)
    const number = readCertificate(second.chain[0] ?? new Uint8Array()).serial
    expect(await ca.revoke(`0x${number.toUpperCase()}`)).toBe(number)
    expect(await problem(ca, second.chain)).toMatch(/revoked/)
    expect(await problem(ca, third.chain)).toBe('ok')
    await ca.refreshRevocationLists()
    expect(await problem(ca, first.chain)).toMatch(/revoked/)
  })

  it('reaches what an intermediate signed that has been replaced, and the intermediate itself', async () => {
    const ca = await newCa()
    const before = await issue(ca)
    await ca.rotateRoot('add')
    await ca.rotateRoot('sign')
    const after = await issue(ca)
    expect(await problem(ca, before.chain)).toBe('ok')
    await ca.revoke(before.pem)
    expect(await problem(ca, before.chain)).toMatch(/revoked/)
    expect(await problem(ca, after.chain)).toBe('ok')
    await ca.revoke(ca.intermediates[0] ?? '')
    expect(await problem(ca, after.chain)).toMatch(/revoked/)
  })

  it('refuses what it has not issued, and numbers that are none', async () => {
    const [ca, other] = [await newCa(), await newCa()]
    await expect(ca.revoke((await issue(other)).pem)).rejects.toThrow(/was not issued by the CA/)
    for (const wrong of ['', 'xyz', 'f'.repeat(41)])
      await expect(ca.revoke(wrong)).rejects.toMatchObject({ code: 'AMBIENT_E_CERTIFICATE' })
  })
})

describe.skipIf(!hasOpenssl)('with OpenSSL as the other side', () => {
  const openssl = (cwd: string, ...args: string[]): string =>
    execFileSync('openssl', args, { cwd, stdio: 'pipe' }).toString()

  it('chains and lists verify strictly there', async () => {
    const ca = await newCa()
    const [good, bad] = [await issue(ca), await issue(ca)]
    await ca.revoke(bad.pem)
    writeFileSync(join(ca.dir, 'good.pem'), good.pem)
    writeFileSync(join(ca.dir, 'bad.pem'), bad.pem)
    const verify = ['verify', '-x509_strict', '-CAfile', 'root-cert.pem', '-untrusted', 'cert-chain.pem']
    const checked = [...verify, '-crl_check_all', '-CRLfile', 'crl.pem']
    expect(openssl(ca.dir, ...checked, 'good.pem')).toContain('OK')
    expect(() => openssl(ca.dir, ...checked, 'bad.pem')).toThrow(/certificate revoked/)
    expect(openssl(ca.dir, 'crl', '-in', 'crl.pem', '-noout', '-text')).toMatch(/CRL Number:\s+2/)
  })

  it('opens a folder that OpenSSL made, with a key of RSA and PKCS#1', async () => {
    const dir = newFolder()
    const conf =
      'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n'
    writeFileSync(join(dir, 'ca.ext'), conf)
    openssl(
      dir,
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      'root-key.pem',
      '-out',
      'root-cert.pem',
      '-subj',
      '/O=Istio/CN=Root CA',
      '-days',
      '30',
    )
    openssl(dir, 'genrsa', '-traditional', '-out', 'ca-key.pem', '2048')
    openssl(
      dir,
      'req',
      '-new',
      '-key',
      'ca-key.pem',
      '-subj',
      '/O=Istio/CN=Intermediate CA',
      '-out',
      'ca.csr',
    )
    openssl(
      dir,
      'x509',
      '-req',
      '-in',
      'ca.csr',
      '-CA',
      'root-cert.pem',
      '-CAkey',
      'root-key.pem',
      '-CAcreateserial',
      '-extfile',
      'ca.ext',
      '-days',
      '20',
      '-out',
      'ca-cert.pem',
    )
    chmodSync(join(dir, 'ca-key.pem'), 0o600)
    chmodSync(join(dir, 'root-key.pem'), 0o600)
    await expect(openAt(dir)).rejects.toThrow(/its trust domain has to be given/)
    const ca = await openAt(dir, { trustDomain: 'td.example' })
    const { chain, roots } = await issue(ca)
    expect(verdict(chain, roots)).toBe('ok')
    expect(await ca.rotateRoot()).toEqual({ step: 'add', next: 'sign', roots: 2 })
  })
})
