/**
 * The packed `@ambient/hbone`, installed alone without a network: a client and a server in ten lines, as ESM, as CommonJS and as
 * TypeScript, with `@ambient/core` as its only relative. Says how much that is.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { INSTALL_FLAGS, packInto, strictTypes } from './packed.ts'
import { type Ending, runProgram } from './run-program.ts'
import { root } from './workspace.ts'

const TIME_LIMIT_MS = 120_000
/** What a user downloads for HBONE: both packages, code in two module systems, types and source maps. */
const MAX_UNPACKED_BYTES = 4 << 20

let folder = ''
let project = ''
let offline = ''

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ambient-pack-hbone-'))
  project = join(folder, 'project')
  mkdirSync(project)
  const [core, hbone] = await Promise.all(
    ['core', 'hbone'].map(name => packInto(join(folder, `tarball-${name}`), name)),
  )
  if (core === undefined || hbone === undefined) {
    offline = 'pnpm is not here and the npm registry cannot be reached'
    return
  }
  write('package.json', JSON.stringify({ private: true }))
  const installed = await runProgram('npm', ['install', '--offline', ...INSTALL_FLAGS, core, hbone], {
    cwd: project,
    timeoutMs: TIME_LIMIT_MS,
  })
  expect(installed).toMatchObject({ code: 0 })
  await writeIdentities()
}, TIME_LIMIT_MS)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('@ambient/hbone, packed and installed alone', () => {
  it('is small, and brings @ambient/core and nothing else', context => {
    context.skip(offline !== '', offline)
    const modules = join(project, 'node_modules')
    const packages = readdirSync(modules, { recursive: true, encoding: 'utf8' })
      .filter(path => path.endsWith('package.json') && !path.includes('dist'))
      .map(path => path.slice(0, -'/package.json'.length))
    const bytes = sizeOf(join(modules, '@ambient'))
    const own = sizeOf(join(modules, '@ambient', 'hbone'))
    console.log(
      `@ambient/hbone: ${kib(own)} KiB unpacked, ${kib(bytes)} KiB with its ${packages.length - 1} dependency`,
    )
    expect(packages.sort()).toEqual(['@ambient/core', '@ambient/hbone'])
    expect(bytes).toBeLessThan(MAX_UNPACKED_BYTES)
  })

  it.each([
    ['ESM', 'main.mjs', asModule()],
    ['CommonJS', 'main.cjs', asCommonJs()],
  ])('gives a client and a server in ten lines, as %s', async (_, file, program) => {
    if (offline !== '') return
    expect(linesOf(program)).toBeLessThanOrEqual(20)
    write(file, program)
    expect(await run(file)).toEqual({ code: 0, output: OUTPUT })
  })

  it('gives a client and a server in ten lines, as TypeScript, for both module systems', async context => {
    context.skip(offline !== '', offline)
    const program = asModule()
    write('typed.mts', program)
    // CommonJS has no top-level await.
    const [imports, body] = splitImports(program)
    write('typed.cts', `${imports}\nasync function main(): Promise<void> {\n${body}\n}\nvoid main()\n`)
    write('tsconfig.json', JSON.stringify(strictTypes(['typed.mts', 'typed.cts'], { noEmit: false })))
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    expect(await run(tsc, '-p', 'tsconfig.json')).toEqual({ code: 0, output: '' })
    expect(await run('typed.mjs')).toEqual({ code: 0, output: OUTPUT })
    expect(await run('typed.cjs')).toEqual({ code: 0, output: OUTPUT })
  })

  it('says what to install for gRPC and undici', async context => {
    context.skip(offline !== '', offline)
    write(
      'peers.mjs',
      `import { createHboneChannelCredentials } from '@ambient/hbone/grpc'
import { createHboneDispatcher } from '@ambient/hbone/undici'
for (const create of [createHboneChannelCredentials, createHboneDispatcher])
  try { create({ open() {} }) } catch (error) { console.log(error.code, error.message) }`,
    )
    const { code, output } = await run('peers.mjs')
    expect(code).toBe(0)
    expect(output.trim().split('\n')).toEqual([
      expect.stringMatching(/^AMBIENT_E_HBONE_DEPENDENCY .*grpc-js is not installed: npm install/),
      expect.stringMatching(/^AMBIENT_E_HBONE_DEPENDENCY .*undici is not installed: npm install/),
    ])
  })
})

const OUTPUT = `spiffe://cluster.local/ns/shop/sa/web asks for 10.0.0.7:5432
spiffe://cluster.local/ns/shop/sa/db says hello
`

/** The ten lines, beside imports and endings. */
const PROGRAM = `const [web, db] = [credentialsOf('web'), credentialsOf('db')]
const server = createHboneServer({ credentials: () => db, onTunnel: request => {
  console.log(\`\${request.peer.id.uri} asks for \${request.authority}\`)
  const channel = request.accept()
  channel.start({ data: bytes => channel.write(bytes), end: () => channel.end(), drained() {}, finished() {}, reset() {} })
} })
const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
const pool = createHbonePool()
const tunnel = await pool.connect({ credentials: web, to: port, expect: [db.id], authority: '10.0.0.7:5432' })
const socket = tunnel.socket().end('hello')
for await (const bytes of socket) console.log(\`\${tunnel.peer.id.uri} says \${bytes}\`)
await Promise.all([pool.close(), port.close(), server.close()])`

function asModule(): string {
  const imports = `import { listen } from '@ambient/core/node'
import { createHbonePool, createHboneServer } from '@ambient/hbone'
import { credentialsOf } from './credentials.cjs'`
  return `${imports}\n${PROGRAM}\n`
}

function asCommonJs(): string {
  return `const { listen } = require('@ambient/core/node')
const { createHbonePool, createHboneServer } = require('@ambient/hbone')
const { credentialsOf } = require('./credentials.cjs')
void (async () => {
${PROGRAM}
})()
`
}

function splitImports(program: string): readonly [imports: string, body: string] {
  const lines = program.trim().split('\n')
  return [
    lines.filter(line => line.startsWith('import ')).join('\n'),
    lines.filter(line => !line.startsWith('import ')).join('\n'),
  ]
}

/**
 * Certificates as PEM files, and credentials of them by hand: the contract of `@ambient/core`, with the little verification
 * that a test with one root and no intermediates needs. (`createCredentials` of `@ambient/identity` keeps all of X509-SVID.)
 */
async function writeIdentities(): Promise<void> {
  const identities = await createTestIdentities()
  for (const serviceAccount of ['web', 'db']) {
    const made = await identities.credentials({ namespace: 'shop', serviceAccount })
    write(`${serviceAccount}.pem`, made.certificateChain)
    write(`${serviceAccount}.key`, made.privateKey())
    write('root.pem', made.trustBundle)
  }
  write(
    'credentials.cjs',
    `const { X509Certificate } = require('node:crypto')
const { readFileSync } = require('node:fs')
const { parseSpiffeId } = require('@ambient/core')
const read = file => readFileSync(\`\${__dirname}/\${file}\`, 'utf8')
const idOf = certificate => parseSpiffeId(certificate.subjectAltName.replace('URI:', ''))
const timesOf = certificate => ({ notBefore: Date.parse(certificate.validFrom), notAfter: Date.parse(certificate.validTo) })
function verifyPeer([der], expect) {
  const [leaf, root] = [new X509Certificate(der), new X509Certificate(read('root.pem'))]
  if (!leaf.verify(root.publicKey)) return { ok: false, problem: 'untrusted', reason: 'not of our root' }
  const [id, { notBefore, notAfter }] = [idOf(leaf), timesOf(leaf)]
  if (Date.now() < notBefore || Date.now() > notAfter) return { ok: false, problem: 'expired', reason: 'not valid now' }
  const isExpected = expect.kind === 'own-trust-domain' || expect.ids.some(({ uri }) => uri === id.uri)
  return isExpected ? { ok: true, id, notAfter } : { ok: false, problem: 'unexpected-identity', reason: id.uri }
}
exports.credentialsOf = name => {
  const leaf = new X509Certificate(read(\`\${name}.pem\`))
  const privateKey = () => read(\`\${name}.key\`)
  const files = { certificateChain: read(\`\${name}.pem\`), trustBundle: read('root.pem') }
  return { id: idOf(leaf), generation: 1, ...files, ...timesOf(leaf), privateKey, verifyPeer }
}`,
  )
  write(
    'credentials.d.cts',
    `import type { Credentials } from '@ambient/core'\nexport declare function credentialsOf(name: string): Credentials`,
  )
}

function write(file: string, text: string): void {
  writeFileSync(join(project, file), `${text}\n`)
}

function run(file: string, ...args: readonly string[]): Promise<Ending> {
  return runProgram(process.execPath, [file, ...args], { cwd: project, timeoutMs: 60_000 })
}

function sizeOf(path: string): number {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile())
  return files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0)
}

function kib(bytes: number): number {
  return Math.round(bytes / 1024)
}

function linesOf(program: string): number {
  return program.trim().split('\n').length
}
