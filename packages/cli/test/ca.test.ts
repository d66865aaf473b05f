/** `ambient ca` and `ambient cert issue`: what scripts see of them, and a certificate over a real connection. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId } from '@ambient/core'
import {
  createCertificateRequest,
  createCredentials,
  createIstioCaClient,
  type IstioCaClientOptions,
} from '@ambient/identity'
import { afterEach, describe, expect, it } from 'vitest'
import { runCli } from '../src/index.ts'
import { run, testHost } from './host.ts'

const TD = 'cluster.local'
const WEB = parseSpiffeId(`spiffe://${TD}/ns/shop/sa/web`)
const DB = parseSpiffeId(`spiffe://${TD}/ns/shop/sa/db`)

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function newCa(): Promise<{ dir: string; at: (name: string) => string }> {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-ca-'))
  cleanups.push(() => rmSync(folder, { recursive: true }))
  const dir = join(folder, 'ca')
  expect(await run('ca', 'init', '--dir', dir, '--trust-domain', TD)).toMatchObject({ code: 0, err: '' })
  return { dir, at: name => join(folder, name) }
}

interface Serving {
  readonly address: string
  readonly code: Promise<number>
  err(): string
  out(): string
  interrupt(): void
}

async function serve(...args: string[]): Promise<Serving> {
  const given = testHost()
  let interrupt = (): void => {}
  const code = runCli(['ca', 'serve', '--listen', '127.0.0.1:0', ...args], {
    ...given.host,
    onInterrupt(listener) {
      interrupt = () => listener('SIGTERM')
      return () => {}
    },
  })
  cleanups.push(async () => {
    interrupt()
    await code
  })
  await expect.poll(() => given.out() + given.err()).toMatch(/^listening /m)
  const address = /^listening (\S+)$/m.exec(given.out())?.[1] ?? ''
  return { address, code, err: given.err, out: given.out, interrupt: () => interrupt() }
}

/** What the CA says to a client, in a word or its reason. */
async function ask(
  { address }: Serving,
  dir: string,
  options: Partial<IstioCaClientOptions> & { asked?: typeof WEB; id?: typeof WEB } = {},
): Promise<string> {
  const { asked = WEB, id = asked, ...rest } = options
  const client = createIstioCaClient({
    address: `https://${address}`,
    rootPem: () => readFileSync(join(dir, 'root-cert.pem'), 'utf8'),
    clusterId: 'Kubernetes',
    impersonate: false,
    ...rest,
  })
  try {
    const { csrPem } = await createCertificateRequest(asked)
    await client.sign({ id, csrPem, ttlMs: 3_600_000 })
    return 'issued'
  } catch (error) {
    return String(error)
  } finally {
    await client.close()
  }
}

describe('ambient ca init and cert issue', () => {
  it('make a CA, and certificates that belong to their keys', async () => {
    const { dir, at } = await newCa()
    const issued = await run(
      'cert',
      'issue',
      '--dir',
      dir,
      '--id',
      WEB.uri,
      '--out',
      at('web'),
      '--ttl',
      '90m',
      '-o',
      'json',
    )
    expect(issued).toMatchObject({ code: 0, err: '' })
    expect(JSON.parse(issued.out)).toMatchObject({ issued: true, id: WEB.uri })
    const read = (name: string): string => readFileSync(join(at('web'), name), 'utf8')
    expect(statSync(join(at('web'), 'key.pem')).mode & 0o777).toBe(0o600)
    const web = createCredentials({
      certificateChain: read('cert-chain.pem'),
      privateKey: read('key.pem'),
      trustBundle: read('root-cert.pem'),
    })
    expect(web.notAfter - web.notBefore).toBe(92 * 60_000)
    expect(read('root-cert.pem')).toBe(readFileSync(join(dir, 'root-cert.pem'), 'utf8'))
    const verify = [
      'cert',
      'verify',
      '--chain',
      join(at('web'), 'cert-chain.pem'),
      '--bundle',
      join(dir, 'root-cert.pem'),
    ]
    for (const purpose of ['client', 'server'])
      expect(await run(...verify, '--trust-domain', TD, '--purpose', purpose)).toMatchObject({ code: 0 })
  })

  it('sign a foreign request under the caller’s name, or refuse it with the rule', async () => {
    const { dir, at } = await newCa()
    const { csrPem } = await createCertificateRequest(DB)
    writeFileSync(at('db.csr'), csrPem)
    const issue = (
      caller: string,
      csr = at('db.csr'),
      ...more: string[]
    ): Promise<{ code: number; out: string; err: string }> =>
      run('cert', 'issue', '--dir', dir, '--csr', csr, '--caller', caller, '--out', at('out.pem'), ...more)
    expect(await issue(WEB.uri)).toMatchObject({ code: 0, out: expect.stringContaining(WEB.uri), err: '' })
    const shown = await run('cert', 'show', at('out.pem'), '-o', 'json')
    expect(shown.out).toContain(WEB.uri)
    expect(shown.out).not.toContain(DB.uri)

    writeFileSync(at('two.csr'), csrPem + csrPem)
    expect(await issue(WEB.uri, at('two.csr'))).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/2 PEM blocks where one is due \[AMBIENT_E_CERTIFICATE_REQUEST\]/),
    })
    const refused = await issue('spiffe://other/ns/a/sa/b', at('db.csr'), '-o', 'json')
    expect(refused).toMatchObject({ code: 1 })
    expect(JSON.parse(refused.out)).toMatchObject({ issued: false, code: 'AMBIENT_E_CA_IDENTITY' })
    // One that is too long is cut to what the CA gives.
    expect(await issue(WEB.uri, at('db.csr'), '--ttl', '9000h')).toMatchObject({ code: 0 })
    for (const more of [
      ['--ttl', 'x'],
      ['--ttl', '0s'],
    ])
      expect(await issue(WEB.uri, at('db.csr'), ...more), more.join(' ')).toMatchObject({ code: 1 })
    expect(await issue('not an id')).toMatchObject({ code: 1 })
    expect(await issue(WEB.uri, at('missing.csr'))).toMatchObject({ code: 1 })
  })

  it('name the file that cannot be written', async () => {
    const { dir, at } = await newCa()
    writeFileSync(at('file'), '')
    const issue = ['cert', 'issue', '--dir', dir, '--id', WEB.uri, '--out', at('file')]
    const { code, err } = await run(...issue)
    expect([code, err]).toEqual([1, expect.stringMatching(/file\/key\.pem: .* \[AMBIENT_E_CLI_WRITE\]/)])
    expect(JSON.parse((await run(...issue, '-o', 'json')).out)).toMatchObject({ code: 'AMBIENT_E_CLI_WRITE' })
  })

  it('say that a command line is not understood by exit code 2, and only that', async () => {
    const { dir, at } = await newCa()
    const lines: [number, ...string[]][] = [
      [2, 'ca', 'init', '--dir', dir],
      [2, 'ca', 'init', '--dir', dir, '--trust-domain', TD, '--unknown'],
      [2, 'cert', 'issue', '--dir', dir, '--out', at('x')],
      [2, 'cert', 'issue', '--dir', dir, '--out', at('x'), '--csr', at('x')],
      [
        2,
        'cert',
        'issue',
        '--dir',
        dir,
        '--out',
        at('x'),
        '--csr',
        at('x'),
        '--caller',
        WEB.uri,
        '--id',
        WEB.uri,
      ],
      [2, 'ca', 'serve', '--dir', dir],
      [2, 'ca', 'revoke', '--dir', dir],
      [1, 'ca', 'init', '--dir', dir, '--trust-domain', TD],
      [1, 'ca', 'init', '--dir', at('new'), '--trust-domain', 'Not A Domain'],
      [1, 'ca', 'init', '--dir', at('new'), '--trust-domain', TD, '--key-type', 'RSA-1024'],
      [1, 'ca', 'serve', '--dir', dir, '--listen', 'nowhere'],
      [1, 'ca', 'serve', '--dir', at('nowhere'), '--listen', '127.0.0.1:0'],
      [1, 'ca', 'serve', '--dir', dir, '--listen', '0.0.0.0:0'],
      [1, 'ca', 'serve', '--dir', dir, '--listen', '127.0.0.1:0', '--tokens', at('nowhere')],
      [1, 'ca', 'rotate-root', '--dir', dir, '--step', 'drop'],
      [1, 'ca', 'rotate-root', '--dir', dir, '--step', 'hop'],
      [1, 'ca', 'revoke', '--dir', dir, '--serial', 'xyz'],
    ]
    for (const [code, ...args] of lines) expect((await run(...args)).code, args.join(' ')).toBe(code)
  })
})

describe('ambient ca serve', () => {
  it('gives callers what their tokens say', async () => {
    const { dir, at } = await newCa()
    writeFileSync(at('tokens'), `web-secret ${WEB.uri}\nnode-secret node n1 ${WEB.uri}\nany-secret node n2\n`)
    const ca = await serve('--dir', dir, '--tokens', at('tokens'), '-v')
    expect(ca.err()).toMatch(/a token lists no workloads of its node.* node=n2/)
    expect(await ask(ca, dir, { token: () => 'web-secret' })).toBe('issued')
    expect(await ask(ca, dir, { token: () => 'web-secret', asked: DB, id: WEB })).toBe('issued')
    expect(await ask(ca, dir, { token: () => 'node-secret', impersonate: true })).toBe('issued')
    expect(await ask(ca, dir, { token: () => 'any-secret', impersonate: true, asked: DB })).toBe('issued')
    for (const options of [
      { token: () => 'node-secret', impersonate: true, asked: DB },
      { token: () => 'web-secret', impersonate: true, asked: DB },
      { token: () => 'guessed' },
      {},
    ])
      expect(await ask(ca, dir, options)).toMatch(/UNAUTHENTICATED: request (impersonation )?authenticat/)
    const byName = ca.address.replace('127.0.0.1', 'localhost')
    expect(await ask({ ...ca, address: byName }, dir, { token: () => 'web-secret' })).toBe('issued')
    expect(ca.err()).not.toMatch(/secret/)
    expect(ca.err()).toMatch(/certificate issued identity=spiffe:\/\/cluster.local\/ns\/shop\/sa\/web/)
    ca.interrupt()
    expect(await ca.code).toBe(0)
    expect(ca.out()).toMatch(/^listening 127\.0\.0\.1:\d+\n$/)
  })

  it('without tokens believes requests, says so, and signs for its own trust domain only', async () => {
    const { dir } = await newCa()
    const ca = await serve('--dir', dir)
    expect(ca.err()).toMatch(/warn without --tokens/)
    expect(await ask(ca, dir)).toBe('issued')
    expect(await ask(ca, dir, { asked: DB })).toBe('issued')
    expect(await ask(ca, dir, { impersonate: true, asked: DB })).toBe('issued')
    expect(await ask(ca, dir, { impersonate: true, asked: DB, id: WEB })).toMatch(/UNAUTHENTICATED/)
    expect(await ask(ca, dir, { asked: parseSpiffeId('spiffe://other/ns/a/sa/b') })).toMatch(
      /UNAUTHENTICATED/,
    )
  })

  it('warns of tokens that nobody can use', async () => {
    const { dir, at } = await newCa()
    writeFileSync(at('empty'), '# none yet\n')
    expect((await serve('--dir', dir, '--tokens', at('empty'))).err()).toMatch(
      /warn the token file has no token/,
    )
    writeFileSync(at('foreign'), 'secret spiffe://other/ns/a/sa/b\n')
    const { err } = await serve('--dir', dir, '--tokens', at('foreign'))
    expect(err()).toMatch(/warn a token is for another trust domain.* id=spiffe:\/\/other\/ns\/a\/sa\/b/)
    expect(err()).not.toMatch(/secret/)
  })

  it('says that its address is taken, in one line', async () => {
    const { dir } = await newCa()
    const { address } = await serve('--dir', dir)
    const second = await run('ca', 'serve', '--dir', dir, '--listen', address)
    expect(second).toMatchObject({ code: 1, out: '' })
    expect(second.err).toContain(address)
    expect(second.err).toMatch(/EADDRINUSE|in use/)
    expect(second.err).not.toMatch(/No address added/)
  })

  it('writes the revocation lists again before it serves', async () => {
    const { dir } = await newCa()
    const lists = (): string => readFileSync(join(dir, 'crl.pem'), 'utf8')
    const before = lists()
    const ca = await serve('--dir', dir)
    expect(lists()).not.toBe(before)
    ca.interrupt()
    expect(await ca.code).toBe(0)
  })

  it('follows rotations and revocations of other commands', async () => {
    const { dir, at } = await newCa()
    const ca = await serve('--dir', dir)
    const before = readFileSync(join(dir, 'root-cert.pem'), 'utf8')
    expect((await run('cert', 'issue', '--dir', dir, '--id', WEB.uri, '--out', at('web'))).code).toBe(0)
    expect(
      await run('ca', 'revoke', '--dir', dir, '--cert', join(at('web'), 'cert-chain.pem')),
    ).toMatchObject({ code: 0 })
    const steps: unknown[] = []
    for (let step = 0; step < 3; step += 1) {
      const { out } = await run('ca', 'rotate-root', '--dir', dir, '-o', 'json')
      steps.push(JSON.parse(out))
      if (step < 2)
        expect(await ask(ca, dir, { rootPem: () => before }), 'the old root is good').toBe('issued')
    }
    expect(steps).toEqual([
      { step: 'add', next: 'sign', roots: 2 },
      { step: 'sign', next: 'drop', roots: 2 },
      { step: 'drop', next: 'add', roots: 1 },
    ])
    await expect.poll(() => ask(ca, dir)).toBe('issued')
    expect(await ask(ca, dir, { rootPem: () => before })).not.toBe('issued')
  })
})
