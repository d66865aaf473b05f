/** `ambient cert watch`: a line for each generation of files, of a Workload API and of a CA. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId } from '@ambient/core'
import {
  createCaServer,
  createCertificateAuthority,
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiServer,
  openCertificateAuthority,
  type CertificateAuthorityFolder,
} from '@ambient/identity'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { runCli } from '../src/index.ts'
import { run, testHost } from './host.ts'

const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
const folder = mkdtempSync(join(tmpdir(), 'ambient-watch-'))
const at = (name: string): string => join(folder, name)
const cleanups: (() => unknown)[] = []

beforeAll(async () => {
  expect((await run('ca', 'init', '--dir', at('ca'), '--trust-domain', 'cluster.local')).code).toBe(0)
  await issue()
})
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function issue(): Promise<void> {
  const issued = await run('cert', 'issue', '--dir', at('ca'), '--id', WEB, '--out', at('web'))
  expect(issued).toMatchObject({ code: 0, err: '' })
}

const FILES = () => [
  '--cert',
  at('web/cert-chain.pem'),
  '--key',
  at('web/key.pem'),
  '--ca',
  at('web/root-cert.pem'),
]

interface Line {
  readonly id: string
  readonly serial: string
  readonly generation: number
  readonly nextRenewal?: string
  readonly notAfter: string
  readonly changed: readonly string[]
}

interface Watching {
  lines(): readonly Line[]
  err(): string
  /** Ctrl-C. */
  end(): Promise<number>
}

function watch(...args: string[]): Watching {
  const given = testHost()
  let interrupt = (): void => {}
  const code = runCli(['cert', 'watch', '-o', 'json', ...args], {
    ...given.host,
    onInterrupt(listener) {
      interrupt = () => listener('SIGINT')
      return () => {}
    },
  })
  const end = (): Promise<number> => {
    interrupt()
    return code
  }
  cleanups.push(end)
  return {
    lines: () =>
      given
        .out()
        .split('\n')
        .filter(Boolean)
        .map(line => JSON.parse(line)),
    err: given.err,
    end,
  }
}

describe('files', () => {
  it('are one line each time that somebody renews them, and Ctrl-C ends it well', async () => {
    const watching = watch(...FILES())
    await expect.poll(() => watching.lines().length).toBe(1)
    await issue()
    await expect.poll(() => watching.lines().length).toBe(2)
    const [first, second] = watching.lines()
    expect(first).toMatchObject({ id: WEB, changed: ['first'] })
    expect(second).toMatchObject({ id: WEB, changed: ['certificate', 'key'] })
    expect(second?.serial).not.toBe(first?.serial)
    expect(second).not.toHaveProperty('nextRenewal')
    expect(await watching.end()).toBe(0)
  })

  it('with --once are one line of text', async () => {
    const { code, out, err } = await run('cert', 'watch', '--once', ...FILES())
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toMatch(
      /^\S+Z {2}spiffe:\S+\/web {2}serial [0-9a-f]+ {2}valid \S+ to \S+ {2}renewed by others {2}changed: first\n$/,
    )
  })

  it('that are not there are exit code 1 with --once, else awaited', async () => {
    const args = ['--cert', at('no.pem'), '--key', at('no.key'), '--ca', at('web/root-cert.pem')]
    const { code, err } = await run('cert', 'watch', '--once', ...args)
    expect(code).toBe(1)
    expect(err).toContain('no.pem')
    const watching = watch(...args)
    await expect.poll(watching.err).toContain('no certificate in the files')
    expect(await watching.end()).toBe(0)
    expect(watching.lines()).toEqual([])
  })
})

describe('a Workload API', () => {
  it('is followed, by its address or by that of the environment', async () => {
    const manager = createIdentityManager({
      signer: createLocalSigner(await createCertificateAuthority({ trustDomain: 'cluster.local' })),
    })
    cleanups.push(() => manager.close())
    const address = `unix://${at('agent.sock')}`
    const id = parseSpiffeId(WEB)
    const server = createWorkloadApiServer({ listen: address, attest: () => [{ id }], credentials: manager })
    await server.start()
    cleanups.push(() => server.close())
    const watching = watch('--workload-api', address)
    await expect.poll(() => watching.lines().length).toBe(1)
    await manager.rotate(id)
    await expect.poll(() => watching.lines().length).toBe(2)
    expect(watching.lines()[1]).toMatchObject({ id: WEB, generation: 2, changed: ['certificate', 'key'] })
    expect(await watching.end()).toBe(0)

    const given = testHost()
    const host = { ...given.host, environment: { SPIFFE_ENDPOINT_SOCKET: address } }
    expect(await runCli(['cert', 'watch', '--once', '--workload-api'], host)).toBe(0)
    expect(given.out()).toContain(WEB)
  })
})

describe('a CA', () => {
  async function serve(): Promise<{ ca: CertificateAuthorityFolder; args: string[] }> {
    const ca = await openCertificateAuthority({ dir: at('ca') })
    cleanups.push(() => ca.close())
    writeFileSync(at('token'), 'let-me-in\n')
    const server = createCaServer({
      ca,
      host: '127.0.0.1',
      port: 0,
      authorize: ({ token }) =>
        token === 'let-me-in' ? { ok: true, id: parseSpiffeId(WEB) } : { ok: false, reason: 'no such token' },
    })
    const port = await server.start()
    cleanups.push(() => server.close({ graceMs: 0 }))
    const args = [
      '--ca-address',
      `https://127.0.0.1:${port}`,
      '--ca-root',
      at('ca/root-cert.pem'),
      '--id',
      WEB,
    ]
    return { ca, args }
  }

  it('gives certificates to a token, and the line says when the next one is asked for', async () => {
    const { args } = await serve()
    const { code, out, err } = await run(
      'cert',
      'watch',
      '--once',
      ...args,
      '--token-file',
      at('token'),
      '-o',
      'json',
    )
    expect({ code, err }).toEqual({ code: 0, err: '' })
    const line: Line = JSON.parse(out)
    const renewsInMs = Date.parse(line.nextRenewal ?? '') - Date.now()
    expect(renewsInMs).toBeGreaterThan(9 * 3_600_000)
    expect(renewsInMs).toBeLessThan(14 * 3_600_000)
  })

  it('that refuses is exit code 1, with what it said', async () => {
    const { args } = await serve()
    const { code, out, err } = await run('cert', 'watch', '--once', ...args)
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toContain('AMBIENT_E_IDENTITY_UNAVAILABLE')
  })
})

describe('what to watch', () => {
  it.each([
    [[], 2, 'one of --cert with --key and --ca, --workload-api, or --ca-address'],
    [['--cert', 'x', '--workload-api', 'unix:///x'], 2, 'one of --cert'],
    [['--cert', 'x'], 2, '--key, --ca missing'],
    [['--ca-address', 'https://127.0.0.1:1'], 2, '--ca-root, --id missing'],
    [['--workload-api'], 2, 'SPIFFE_ENDPOINT_SOCKET is not set'],
    [['--workload-api', 'http://x'], 1, '--workload-api: '],
    [['--ca-address', 'http://x', '--ca-root', 'x', '--id', WEB], 1, '--ca-address: '],
    [['--ca-address', 'https://127.0.0.1:1', '--ca-root', 'x', '--id', 'web'], 1, '--id: '],
  ] as const)('has to be said, and to be right: %j', async (args, code, message) => {
    const result = await run('cert', 'watch', '--once', ...args)
    expect(result).toMatchObject({ code, out: '' })
    expect(result.err).toContain(message)
  })
})
