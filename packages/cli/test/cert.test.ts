/** `ambient cert id`, `verify` and `show`: what scripts see of them. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { createServer } from 'node:tls'
import { parseSpiffeId } from '@ambient/core'
import {
  createCertificateAuthority,
  createCertificateRequest,
  formatSpiffeBundle,
  readPemCertificates,
} from '@ambient/identity'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../src/index.ts'
import { run, testHost } from './host.ts'

const WEB = 'spiffe://a.example/ns/shop/sa/web'
const PARTNER = 'spiffe://b.example/ns/shop/sa/partner'
const folder = mkdtempSync(join(tmpdir(), 'ambient-cert-'))
const at = (name: string): string => join(folder, name)
const keys: Record<string, string> = {}

async function authority(trustDomain: string, uri: string, name: string): Promise<void> {
  const ca = await createCertificateAuthority({ trustDomain })
  const id = parseSpiffeId(uri)
  const { csrPem, privateKey } = await createCertificateRequest(id)
  const { chain } = await ca.sign({ csrPem, id })
  const [leaf = ''] = chain
  keys[name] = privateKey
  writeFileSync(at(`${name}.pem`), chain.slice(0, -1).join(''))
  writeFileSync(at(`${name}.der`), new X509Certificate(leaf).raw)
  writeFileSync(at(`${name}-roots.pem`), ca.rootPem)
  const bundle = {
    trustDomain,
    x509Authorities: readPemCertificates(ca.rootPem),
    jwtAuthorities: new Map(),
    ignored: [],
  }
  writeFileSync(at(`${name}-roots.json`), formatSpiffeBundle(bundle))
}

beforeAll(async () => {
  await authority('a.example', WEB, 'web')
  await authority('b.example', PARTNER, 'partner')
  writeFileSync(at('garbage.pem'), 'nothing here')
  writeFileSync(at('cut.pem'), '-----BEGIN CERTIFICATE-----\nMII\n')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function piped(input: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const given = testHost()
  const stdin = new PassThrough()
  stdin.end(input)
  const code = await runCli(args, { ...given.host, input: stdin })
  return { code, out: given.out(), err: given.err() }
}

describe('cert id', () => {
  it('answers a JSON array, in order, with exit code 0', async () => {
    const ids = [
      'spiffe://td/a',
      '',
      'spiffe://td/',
      'spiffe://TD/a',
      'spiffe://td',
      'spiffe://td/a\u0000',
      7,
    ]
    const { code, out, err } = await piped(JSON.stringify(ids), 'cert', 'id', '-', '-o', 'json')
    expect([code, err]).toEqual([0, ''])
    expect(JSON.parse(out)).toEqual([
      { ok: true },
      { ok: false, code: 'empty' },
      { ok: false, code: 'path-trailing-slash' },
      { ok: false, code: 'trust-domain-characters' },
      { ok: true },
      { ok: false, code: 'path-characters' },
      { ok: false, code: 'not-a-string' },
    ])
    expect(await piped('[]', 'cert', 'id', '-', '-o', 'json')).toMatchObject({ code: 0, out: '[]\n' })
  })

  it('fails for what is no JSON array', async () => {
    for (const input of ['', '{}', '"spiffe://td/a"', '[1'])
      expect(await piped(input, 'cert', 'id', '-', '-o', 'json')).toMatchObject({
        code: 1,
        out: '',
        err: expect.stringMatching(/^error: standard input.*\[AMBIENT_E_CLI_INPUT]/),
      })
  })

  it('prints a table of the IDs that are named', async () => {
    const { code, out } = await run('cert', 'id', 'spiffe://td/a', 'spiffe://td/a b\u0007')
    expect(code).toBe(1)
    expect(out.split('\n')).toEqual([
      'RESULT  CODE             ID                       REASON',
      'ok      -                "spiffe://td/a"',
      'FAIL    path-characters  "spiffe://td/a b\\u0007"  path segment characters are limited to letters, numbers, dots, dashes, and underscores',
      '',
    ])
    expect(await run('cert', 'id', 'spiffe://td/a')).toMatchObject({ code: 0 })
  })
})

const question = (more: Readonly<Record<string, string>> = {}): string[] =>
  Object.entries({
    '--chain': at('web.pem'),
    '--bundle': at('web-roots.pem'),
    '--trust-domain': 'a.example',
    '--purpose': 'client',
    ...more,
  }).flat()

async function verify(...args: string[]): Promise<{ code: number; answer: unknown }> {
  const { code, out, err } = await run('cert', 'verify', ...args, '-o', 'json')
  expect(err).toBe('')
  return { code, answer: JSON.parse(out) }
}

describe('cert verify', () => {
  const good = { code: 0, answer: { valid: true, id: WEB } }

  it('believes a good chain, in every form', async () => {
    for (const more of [
      {},
      { '--purpose': 'server' },
      { '--trust-domain': 'spiffe://a.example' },
      { '--trust-domain': 'spiffe://a.example/any/path' },
      { '--bundle': at('web-roots.json') },
      { '--chain': at('web.der') },
      { '--at': new Date(Date.now() + 60_000).toISOString() },
    ])
      expect(await verify(...question(more)), JSON.stringify(more)).toEqual(good)
  })

  const refusals: readonly (readonly [
    Readonly<Record<string, string>>,
    string,
    string | undefined,
    RegExp,
  ])[] = [
    [{ '--at': '2020-01-01T00:00:00Z' }, 'not-before', 'leaf', /^leaf \(spiffe:.*\): not valid before/],
    [{ '--at': '2120-01-01t00:00:00.5+02:00' }, 'not-after', 'leaf', /expired at/],
    [{ '--bundle': at('partner-roots.pem') }, 'signature', 'leaf', /no certificate of the trust bundle/],
    [{ '--trust-domain': 'b.example' }, 'trust-domain', 'leaf', /not ours, b\.example/],
    [{ '--trust-domain': 'TD' }, 'trust-domain-name', undefined, /"TD": trust domain characters/],
    [{ '--trust-domain': '' }, 'trust-domain-name', undefined, /missing/],
    [{ '--trust-domain': 'spiffe:/td/x' }, 'trust-domain-name', undefined, /scheme/],
    [{ '--chain': at('nowhere.pem') }, 'chain-readable', 'chain', /ENOENT/],
    [{ '--chain': at('garbage.pem') }, 'chain-readable', 'chain', /holds no certificate/],
    [{ '--chain': at('cut.pem') }, 'chain-readable', 'chain', /1 blocks begin/],
    [{ '--chain': folder }, 'chain-readable', 'chain', /EISDIR/],
    [{ '--bundle': at('nowhere.pem') }, 'bundle-readable', 'bundle', /ENOENT/],
    [{ '--bundle': at('garbage.pem') }, 'bundle-readable', 'bundle', /holds no certificate/],
    [{ '--bundle': at('cut.pem') }, 'trust-bundle', 'leaf', /no certificate that can be read/],
    [{ '--bundle-for': `b.example=${at('nowhere.pem')}` }, 'bundle-readable', 'bundle', /ENOENT/],
    [{ '--bundle-for': `B=${at('web-roots.pem')}` }, 'trust-domain-name', undefined, /"B"/],
    [{ '--bundle-for': 'b.example' }, 'entry', undefined, /DOMAIN=FILE/],
    [{ '--purpose': 'both' }, 'purpose', undefined, /client or server/],
    [{ '--at': 'yesterday' }, 'time', undefined, /RFC 3339/],
    [{ '--at': '2026-02-30T00:00:00Z' }, 'time', undefined, /RFC 3339/],
    [{ '--at': '2026-02-28T00:00:00' }, 'time', undefined, /RFC 3339/],
  ]
  for (const [more, rule, certificate, message] of refusals)
    it(`refuses ${JSON.stringify(more).replaceAll(folder, '')} by ${rule}`, async () => {
      expect(await verify(...question(more))).toEqual({
        code: 1,
        answer: {
          valid: false,
          rule,
          ...(certificate === undefined ? {} : { certificate }),
          message: expect.stringMatching(message),
        },
      })
    })

  it('proves a foreign chain by the bundle of its own domain, and by no other', async () => {
    const partner = { '--chain': at('partner.pem') }
    const foreign = (domain: string, file: string): string[] =>
      question({ ...partner, '--bundle-for': `${domain}=${at(file)}` })
    const proven = { code: 0, answer: { valid: true, id: PARTNER } }
    expect(await verify(...foreign('b.example', 'partner-roots.pem'))).toEqual(proven)
    expect(await verify(...foreign('spiffe://b.example/x', 'partner-roots.json'))).toEqual(proven)
    expect(
      await verify(
        ...foreign('b.example', 'partner-roots.pem'),
        '--bundle-for',
        `c.example=${at('web-roots.pem')}`,
      ),
    ).toEqual(proven)
    expect(await verify(...foreign('b.example', 'web-roots.pem'))).toMatchObject({
      code: 1,
      answer: { rule: 'signature' },
    })
    expect(await verify(...foreign('c.example', 'partner-roots.pem'))).toMatchObject({
      code: 1,
      answer: { rule: 'trust-domain' },
    })
    expect(await verify(...question({ ...partner, '--bundle': at('partner-roots.pem') }))).toMatchObject({
      answer: { rule: 'trust-domain' },
    })
  })

  it('fails with 2 for flags that are missing or unknown, and for nothing else', async () => {
    expect(await run('cert', 'verify', '--chain', 'x', '-o', 'json')).toMatchObject({
      code: 2,
      out: '',
      err: expect.stringMatching(/^error: --bundle, --trust-domain, --purpose missing/),
    })
    expect(await run('cert', 'verify', ...question(), '--strict')).toMatchObject({ code: 2, out: '' })
  })

  it('prints nothing of a file that steers a terminal', async () => {
    writeFileSync(at('escape.json'), '[\u001b[31mred')
    const { code, err } = await run('cert', 'verify', '--batch', at('escape.json'))
    expect([code, err]).toEqual([1, expect.stringContaining('\\u001b[31mred')])
    expect(err).not.toContain('\u001b')
  })

  it('explains a chain rule by rule', async () => {
    const { code, out } = await run('cert', 'verify', ...question())
    expect(code).toBe(0)
    expect(out).toMatch(new RegExp(`^leaf: ${WEB}$`, 'm'))
    expect(out).toMatch(/^trust anchor 1: O=a\.example$/m)
    expect(out).toMatch(/^RESULT {2}CERTIFICATE {5}RULE +WHY$/m)
    expect(out).toMatch(/^pass {4}leaf +key-usage-digital-signature +digitalSignature$/m)
    expect(out.trimEnd().split('\n').at(-1)).toMatch(new RegExp(`^valid: ${WEB} until 20`))
    const late = await run('cert', 'verify', ...question({ '--at': '2120-01-01T00:00:00Z' }))
    expect(late.code).toBe(1)
    expect(late.out).toMatch(/^FAIL {4}leaf +not-after +expired at/m)
    expect(late.out.trimEnd().split('\n').at(-1)).toMatch(/^NOT valid: leaf .*expired at/)
  })

  it('answers a batch entry by entry', async () => {
    const entry = {
      chain: at('web.pem'),
      bundle: at('web-roots.pem'),
      trustDomain: 'a.example',
      purpose: 'client',
    }
    const batch = [
      entry,
      { ...entry, at: '2120-01-01T00:00:00Z' },
      { ...entry, chain: at('partner.pem'), bundles: { 'b.example': at('partner-roots.pem') } },
      { ...entry, chain: at('nowhere.pem') },
      null,
      'text',
      { ...entry, chain: 7 },
      { chain: at('web.pem') },
      { ...entry, bundles: { 'b.example': 7 } },
      { ...entry, purpose: 'both' },
      { ...entry, trustDomain: 'spiffe://a.example/x', purpose: 'server', bundles: {}, at: null },
    ]
    writeFileSync(at('batch.json'), JSON.stringify(batch))
    const { code, answer } = await verify('--batch', at('batch.json'))
    expect(code).toBe(1)
    expect(answer).toMatchObject([
      { valid: true, id: WEB },
      { valid: false, rule: 'not-after' },
      { valid: true, id: PARTNER },
      { valid: false, rule: 'chain-readable' },
      { valid: false, rule: 'entry' },
      { valid: false, rule: 'entry' },
      { valid: false, rule: 'entry', message: 'chain: expected a string' },
      { valid: false, rule: 'entry', message: 'bundle, trustDomain, purpose missing' },
      { valid: false, rule: 'entry' },
      { valid: false, rule: 'purpose' },
      { valid: true, id: WEB },
    ])
    writeFileSync(at('all-good.json'), JSON.stringify([entry, { ...entry, purpose: 'server' }]))
    expect(await verify('--batch', at('all-good.json'))).toMatchObject({ code: 0 })
    const table = await run('cert', 'verify', '--batch', at('batch.json'))
    expect(table.out).toMatch(/^ENTRY {2}VALID {2}RULE +ID OR REASON\n1 +yes +- +spiffe:/)
    expect(await run('cert', 'verify', '--batch', at('garbage.pem'), '-o', 'json')).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/AMBIENT_E_CLI_INPUT/),
    })
  })
})

describe('cert show', () => {
  it('explains a file, and without a bundle proves nothing', async () => {
    const plain = await run('cert', 'show', at('web.pem'))
    expect(plain.code).toBe(0)
    expect(plain.out).toMatch(/^skip {4}leaf +signature +no --bundle to prove it by$/m)
    expect(plain.out).toMatch(/^not proven: no --bundle$/m)
    const proven = await run('cert', 'show', at('web.pem'), '--bundle', at('web-roots.json'), '-o', 'json')
    expect(proven.code).toBe(0)
    expect(JSON.parse(proven.out)).toMatchObject({
      certificates: [
        { certificate: 'leaf', uris: [WEB], isCa: false, key: 'P-256' },
        { certificate: 'trust anchor 1', subject: 'O=a.example', isCa: true },
      ],
      verdict: { valid: true, id: WEB },
    })
    const wrong = await run('cert', 'show', at('web.pem'), '--bundle', at('partner-roots.pem'), '-o', 'yaml')
    expect(wrong.code).toBe(1)
    expect(wrong.out).toMatch(/rule: signature\n {4}outcome: fail/)
    expect(await run('cert', 'show', at('nowhere.pem'))).toMatchObject({
      code: 1,
      err: expect.stringMatching(/neither a certificate nor HOST:PORT: .*ENOENT.*\[AMBIENT_E_CLI_INPUT]/),
    })
  })

  it('asks a TLS server that wants a certificate', async () => {
    const server = createServer({
      cert: readFileSync(at('web.pem')),
      key: keys['web'],
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    })
    server.on('tlsClientError', () => {})
    server.on('secureConnection', socket => socket.on('error', () => {}))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    writeFileSync(at('partner.key'), keys['partner'] ?? '', { mode: 0o600 })
    const ours = ['--cert', at('partner.pem'), '--key', at('partner.key')]
    const args = ['cert', 'show', `127.0.0.1:${port}`, '--bundle', at('web-roots.pem')]
    const { code, out } = await run(...args, ...ours)
    expect(code).toBe(0)
    expect(out).toMatch(/^TLSv1\.3, TLS_AES_256_GCM_SHA384, h2\nleaf: spiffe:/)
    expect(out).toMatch(new RegExp(`^valid: ${WEB}`, 'm'))
    server.close()
    await once(server, 'close')
    expect(await run(...args)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/ECONNREFUSED.*\[AMBIENT_E_CLI_CONNECT]/),
    })
  })
})
