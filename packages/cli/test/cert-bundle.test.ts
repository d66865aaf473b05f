/** `ambient cert bundle`: from files and endpoints, told and converted. */
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { createManualClock } from '@ambient/core/testing'
import {
  createBundleEndpoint,
  createCertificateAuthority,
  createJwtAuthority,
  formatSpiffeBundle,
  readPemCertificates,
  readSpiffeBundle,
  type SpiffeBundle,
} from '@ambient/identity'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../src/index.ts'
import { run, testHost } from './host.ts'

const TD = 'partner.example'
const ENDPOINT = `spiffe://${TD}/bundles`
const DAY = 86_400_000
const folder = mkdtempSync(join(tmpdir(), 'ambient-bundle-'))
const at = (name: string): string => join(folder, name)
const partner = await createTestIdentities({ trustDomain: TD })
const jwt = await createJwtAuthority({ trustDomain: TD })
const bundle: SpiffeBundle = {
  trustDomain: TD,
  x509Authorities: readPemCertificates(partner.ca.rootPem),
  jwtAuthorities: jwt.authorities(),
  sequenceNumber: 7,
  refreshHintMs: 300_000,
  ignored: [],
}
const cleanups: (() => unknown)[] = []

beforeAll(async () => {
  const old = await createCertificateAuthority({
    trustDomain: TD,
    rootTtlMs: DAY,
    clock: createManualClock(Date.now() - 3 * DAY),
  })
  writeFileSync(at('roots.pem'), partner.ca.rootPem)
  writeFileSync(at('old.pem'), old.rootPem)
  const { privateKey } = await partner.ca.issueServerCertificate({ dnsNames: ['x'], ipAddresses: [] })
  writeFileSync(at('mixed.pem'), `${partner.ca.rootPem}${privateKey}${partner.ca.rootPem}${old.rootPem}`)
  writeFileSync(at('bundle.json'), formatSpiffeBundle(bundle))
  const { keys } = JSON.parse(formatSpiffeBundle(bundle))
  writeFileSync(at('odd.json'), JSON.stringify({ keys: [...keys, { use: 'enc' }] }))
})
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function endpoint(tls: ServerOptions): Promise<string> {
  const server = createServer(tls, createBundleEndpoint({ bundle: () => bundle }))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  cleanups.push(() => {
    server.closeAllConnections()
    return new Promise(resolve => server.close(resolve))
  })
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

describe('a file', () => {
  it('tells who is in it, until when, and what was passed over', async () => {
    const pem = await run('cert', 'bundle', at('mixed.pem'), '--trust-domain', `spiffe://${TD}/whoever`)
    expect(pem).toMatchObject({ code: 0, err: '' })
    expect(pem.out).toMatch(
      /^partner\.example, 2 X\.509, 0 JWT\nTYPE +NAME +KEY +EXPIRES +IN +NOTE +SHA-256\n/,
    )
    expect(pem.out).toMatch(/^x509 .*EXPIRED/m)
    expect(pem.out).toContain('ignored: block 2: is a PRIVATE KEY, not a certificate\n')
    expect(pem.out).toContain('ignored: block 3: is the same certificate as authority 1\n')
    expect(pem.out).not.toContain('BEGIN')

    const { code, out } = await run('cert', 'bundle', at('odd.json'), '--trust-domain', TD, '-o', 'json')
    expect(code).toBe(0)
    const facts = JSON.parse(out)
    expect(facts).toMatchObject({ trustDomain: TD, x509Authorities: [{ state: 'valid', isCa: true }] })
    expect(facts.jwtAuthorities).toHaveLength(1)
    expect(facts.ignored).toEqual([expect.stringContaining('keys[2]: ')])
  })

  it('becomes the other form, and comes back', async () => {
    const spiffe = await run('cert', 'bundle', at('roots.pem'), '-o', 'spiffe')
    expect(spiffe).toMatchObject({ code: 0, err: '' })
    expect(readSpiffeBundle(TD, spiffe.out).x509Authorities).toHaveLength(1)
    const pem = await run('cert', 'bundle', at('bundle.json'), '-o', 'pem')
    expect(pem).toEqual({
      code: 0,
      out: readFileSync(at('roots.pem'), 'utf8'),
      err: 'not in PEM: 1 keys of JWT-SVIDs\n',
    })
  })

  it('may come from standard input', async () => {
    const given = testHost()
    const input = new PassThrough()
    input.end(readFileSync(at('bundle.json')))
    expect(await runCli(['cert', 'bundle', '-'], { ...given.host, input })).toBe(0)
    expect(given.out()).toContain('trust domain not said, 1 X.509, 1 JWT, sequence 7, refresh every 300 s\n')
  })

  it('that is of no use now, or none, is exit code 1', async () => {
    expect(await run('cert', 'bundle', at('old.pem'))).toMatchObject({ code: 1, err: '' })
    writeFileSync(at('none'), 'nothing')
    writeFileSync(at('bad.json'), '{"keys":7}')
    for (const name of ['none', 'bad.json', 'missing'])
      expect(await run('cert', 'bundle', at(name))).toMatchObject({
        code: 1,
        out: '',
        err: expect.stringMatching(/is no bundle: .*\[AMBIENT_E_CLI_INPUT]/),
      })
  })
})

describe('an endpoint', () => {
  it('of https_web is believed by CAs of the web, or by those that are named', async () => {
    const web = await partner.ca.issueServerCertificate({ dnsNames: [], ipAddresses: ['127.0.0.1'] })
    const url = await endpoint({ cert: web.certificateChain, key: web.privateKey })
    const asked = ['cert', 'bundle', url, '--trust-domain', TD]
    const believed = await run(...asked, '--endpoint-ca', at('roots.pem'), '-o', 'json')
    expect(believed).toMatchObject({ code: 0, err: '' })
    expect(JSON.parse(believed.out)).toMatchObject({
      trustDomain: TD,
      sequenceNumber: 7,
      refreshHintSeconds: 300,
    })
    const unknown = await run(...asked)
    expect(unknown).toMatchObject({ code: 1, out: '' })
    expect(unknown.err).toContain('AMBIENT_E_BUNDLE_ENDPOINT')
  })

  it('of https_spiffe is proven by a bundle that is known', async () => {
    const svid = await partner.credentials(ENDPOINT)
    const url = await endpoint({ cert: svid.certificateChain, key: svid.privateKey() })
    const asked = ['cert', 'bundle', url, '--trust-domain', TD, '--profile', 'https_spiffe']
    const known = ['--endpoint-bundle', at('roots.pem')]
    expect(await run(...asked, ...known, '--endpoint-id', ENDPOINT)).toMatchObject({ code: 0, err: '' })
    const other = await run(...asked, ...known, '--endpoint-id', `spiffe://${TD}/other`)
    expect(other.code).toBe(1)
    expect(other.err).toContain(`peer is ${ENDPOINT}, expected spiffe://${TD}/other`)
  })

  it.each([
    [[], 2, '--trust-domain missing'],
    [['--trust-domain', 'NO'], 1, '--trust-domain: '],
    [['--trust-domain', TD, '--profile', 'http'], 1, '--profile: '],
    [['--trust-domain', TD, '--profile', 'https_spiffe'], 2, '--endpoint-id missing'],
    [
      ['--trust-domain', TD, '--profile', 'https_spiffe', '--endpoint-id', ENDPOINT],
      2,
      '--endpoint-bundle missing',
    ],
    [['--trust-domain', TD, '--endpoint-ca', '/nowhere'], 1, '--endpoint-ca: '],
  ] as const)('needs what proves it: %j', async (args, code, message) => {
    const result = await run('cert', 'bundle', 'https://127.0.0.1:1/', ...args)
    expect(result).toMatchObject({ code, out: '' })
    expect(result.err).toContain(message)
  })
})
