/**
 * The packed `@ambient/identity`, installed in an empty project: an `https` server and client with rotating SVIDs from the
 * embedded CA in ten lines, as ESM, as CommonJS and as TypeScript. Says how much that is.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { INSTALL_FLAGS, isNetworkProblem, packInto, strictTypes } from './packed.ts'
import { type Ending, runProgram } from './run-program.ts'
import { root } from './workspace.ts'

const TIME_LIMIT_MS = 180_000
/** What a user downloads of ours: both packages, code in two module systems, types and source maps. */
const MAX_UNPACKED_BYTES = 6 << 20

let folder = ''
let project = ''
let offline = ''

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ambient-pack-identity-'))
  project = join(folder, 'project')
  mkdirSync(project)
  const [core, identity] = await Promise.all(
    ['core', 'identity'].map(name => packInto(join(folder, `tarball-${name}`), name)),
  )
  if (core === undefined || identity === undefined) {
    offline = 'pnpm is not here and the npm registry cannot be reached'
    return
  }
  write('package.json', JSON.stringify({ private: true }))
  const installed = await runProgram('npm', ['install', ...INSTALL_FLAGS, core, identity], {
    cwd: project,
    timeoutMs: TIME_LIMIT_MS,
  })
  if (isNetworkProblem(installed)) offline = 'the npm registry cannot be reached'
  else expect(installed).toMatchObject({ code: 0 })
}, TIME_LIMIT_MS)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('@ambient/identity, packed and installed alone', () => {
  it('says how large it is, and what it brings', context => {
    context.skip(offline !== '', offline)
    const modules = join(project, 'node_modules')
    const packages = readdirSync(modules, { recursive: true, encoding: 'utf8' }).filter(path =>
      /(^|node_modules\/)(@[^/]+\/)?[^/@]+\/package\.json$/.test(path),
    )
    const ours = sizeOf(join(modules, '@ambient'))
    console.log(
      `@ambient/identity: ${kib(sizeOf(join(modules, '@ambient', 'identity')))} KiB unpacked, ` +
        `${kib(sizeOf(modules))} KiB with its ${packages.length - 1} dependencies`,
    )
    expect(ours).toBeLessThan(MAX_UNPACKED_BYTES)
    expect(readdirSync(join(modules, '@ambient')).sort()).toEqual(['core', 'identity'])
  })

  it.each([
    ['ESM', 'main.mjs', asModule()],
    ['CommonJS', 'main.cjs', asCommonJs()],
  ])('gives an https server and client in ten lines, as %s', async (_, file, program) => {
    if (offline !== '') return
    write(file, program)
    expect(await run(file)).toEqual({ code: 0, output: OUTPUT })
  })

  it('needs ten lines for that, of which the last asks again after each rotation', () => {
    expect(PROGRAM.split(/\nfor /)[0]?.split('\n').length).toBeLessThan(10)
  })

  it('gives them as TypeScript, for both module systems', async context => {
    context.skip(offline !== '', offline)
    write('typed.mts', asModule())
    // CommonJS has no top-level await.
    const body = `${PROGRAM}\n${ENDING}`
    write('typed.cts', `${IMPORTS}\nasync function main(): Promise<void> {\n${body}\n}\nvoid main()\n`)
    write('tsconfig.json', JSON.stringify(strictTypes(['typed.mts', 'typed.cts'], { noEmit: false })))
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    expect(await run(tsc, '-p', 'tsconfig.json')).toEqual({ code: 0, output: '' })
    expect(await run('typed.mjs')).toEqual({ code: 0, output: OUTPUT })
    expect(await run('typed.cjs')).toEqual({ code: 0, output: OUTPUT })
  })
})

const OUTPUT = 'spiffe://example.org/ns/shop/sa/web at spiffe://example.org/ns/shop/sa/db\n'.repeat(2)

const NAMES = `{ createCertificateAuthority, createHttpsAgent, createIdentityManager, createLocalSigner, peerIdentity, secureServer }`
const IMPORTS = `import { once } from 'node:events'
import * as https from 'node:https'
import { text } from 'node:stream/consumers'
import { parseSpiffeId } from '@ambient/core'
import ${NAMES} from '@ambient/identity'`

/** The ten lines, beside imports and endings. */
const PROGRAM = `const ca = await createCertificateAuthority({ trustDomain: 'example.org' })
const identities = createIdentityManager({ signer: createLocalSigner(ca) })
const [webId, dbId] = [parseSpiffeId('spiffe://example.org/ns/shop/sa/web'), parseSpiffeId('spiffe://example.org/ns/shop/sa/db')]
const [web, db] = [identities.x509Source(webId), identities.x509Source(dbId)]
const server = secureServer(https.createServer((request, response) => response.end(peerIdentity(request.socket)?.uri)), db)
await Promise.all([db.get(), once(server.listen(0, '127.0.0.1'), 'listening')])
const agent = createHttpsAgent(web, { expect: { kind: 'one-of', ids: [dbId] } })
const [address, host] = [server.address(), '127.0.0.1']
for (const id of [webId, dbId]) {
  const [response] = await once(https.get({ agent, host, port: typeof address === 'object' ? address?.port : 0 }), 'response')
  console.log(\`\${await text(response)} at \${peerIdentity(response.socket)?.uri ?? dbId.uri}\`)
  await identities.rotate(id)
}`

const ENDING = `agent.destroy()
server.close()
await identities.close()`

function asModule(): string {
  return `${IMPORTS}\n${PROGRAM}\n${ENDING}\n`
}

function asCommonJs(): string {
  const required = IMPORTS.replace(/import (?:\* as )?(.+) from ('.+')/g, 'const $1 = require($2)')
  return `${required}\nvoid (async () => {\n${PROGRAM}\n${ENDING}\n})()\n`
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
