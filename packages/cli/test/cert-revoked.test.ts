/** `--crl` of `ambient cert verify` and `show`: what a CA revoked is seen. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from './host.ts'

const folder = mkdtempSync(join(tmpdir(), 'ambient-revoked-'))
const at = (name: string): string => join(folder, name)
const crl = ['--crl', at('ca/crl.pem')]
const bundle = ['--bundle', at('ca/root-cert.pem')]
const verify = [
  ...['cert', 'verify', '--chain', at('web/cert-chain.pem'), ...bundle],
  ...['--trust-domain', 'cluster.local', '--purpose', 'client', '-o', 'json'],
]

beforeAll(async () => {
  expect((await run('ca', 'init', '--dir', at('ca'), '--trust-domain', 'cluster.local')).code).toBe(0)
  const issue = ['cert', 'issue', '--dir', at('ca'), '--id', 'spiffe://cluster.local/web', '--out', at('web')]
  expect((await run(...issue)).code).toBe(0)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('--crl', () => {
  it('refuses what is on the list, and nothing before', async () => {
    expect(await run(...verify, ...crl)).toMatchObject({ code: 0, err: '' })
    const revoked = await run('ca', 'revoke', '--dir', at('ca'), '--cert', at('web/cert-chain.pem'))
    expect(revoked.code).toBe(0)
    expect((await run(...verify)).code).toBe(0)
    const { code, out } = await run(...verify, ...crl)
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({ valid: false, rule: 'revocation', certificate: 'leaf' })
    const shown = await run('cert', 'show', at('web/cert-chain.pem'), ...bundle, ...crl)
    expect(shown.code).toBe(1)
    expect(shown.out).toMatch(/^FAIL +leaf +revocation /m)
    writeFileSync(at('batch.json'), '[{}]')
    const batch = await run(...verify, ...crl, '--batch', at('batch.json'))
    expect(batch.code).toBe(1)
    expect(JSON.parse(batch.out)).toMatchObject([{ valid: false, rule: 'revocation' }])
  })

  it('that cannot be read is exit code 1', async () => {
    for (const file of [at('nothing'), at('web/key.pem'), ''])
      expect(await run(...verify, '--crl', file)).toMatchObject({
        code: 1,
        out: '',
        err: expect.stringContaining('--crl: '),
      })
  })
})
