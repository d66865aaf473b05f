/**
 * The packed `@ambient/hbone`, installed alone without a network: a client and a server in ten lines, as ESM, as CommonJS and as
 * TypeScript, with `@ambient/core` as its only relative. Says how much that is.
 */
import { join } from 'node:path'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installedIn, installPacked, kibOf, type PackedProject } from './packed-project.ts'

const TIME_LIMIT_MS = 120_000
/** What a user downloads for HBONE: both packages, code in two module systems, types and source maps. */
const MAX_UNPACKED_KIB = 4 << 10

let project: PackedProject

beforeAll(async () => {
  project = await installPacked(['core', 'hbone'], { flags: ['--offline'], timeoutMs: TIME_LIMIT_MS })
  if (project.offline === '') await writeIdentities()
}, TIME_LIMIT_MS)

afterAll(() => project?.remove())

describe('@ambient/hbone, packed and installed alone', () => {
  it('is small, and brings @ambient/core and nothing else', context => {
    context.skip(project.offline !== '', project.offline)
    const { modules } = project
    const packages = installedIn(modules)
    const all = kibOf(join(modules, '@ambient'))
    console.log(
      `@ambient/hbone: ${kibOf(join(modules, '@ambient', 'hbone'))} KiB unpacked, ` +
        `${all} KiB with its ${packages.length - 1} dependency`,
    )
    expect(packages).toEqual(['@ambient/core', '@ambient/hbone'])
    expect(all).toBeLessThan(MAX_UNPACKED_KIB)
  })

  it.for([
    ['ESM', 'main.mjs', asModule()],
    ['CommonJS', 'main.cjs', asCommonJs()],
  ] as const)('gives a client and a server in ten lines, as %s', async ([, file, program], context) => {
    context.skip(project.offline !== '', project.offline)
    expect(linesOf(program)).toBeLessThanOrEqual(20)
    project.write(file, program)
    expect(await project.run(file)).toEqual({ code: 0, output: OUTPUT })
  })

  it('gives a client and a server in ten lines, as TypeScript, for both module systems', async context => {
    context.skip(project.offline !== '', project.offline)
    const program = asModule()
    project.write('typed.mts', program)
    // CommonJS has no top-level await.
    const [imports, body] = splitImports(program)
    project.write(
      'typed.cts',
      `${imports}\nasync function main(): Promise<void> {\n${body}\n}\nvoid main()\n`,
    )
    await project.compile(['typed.mts', 'typed.cts'])
    expect(await project.run('typed.mjs')).toEqual({ code: 0, output: OUTPUT })
    expect(await project.run('typed.cjs')).toEqual({ code: 0, output: OUTPUT })
  })

  it('says what to install for gRPC and undici', async context => {
    context.skip(project.offline !== '', project.offline)
    project.write(
      'peers.mjs',
      `import { createHboneChannelCredentials } from '@ambient/hbone/grpc'
import { createHboneDispatcher } from '@ambient/hbone/undici'
for (const create of [createHboneChannelCredentials, createHboneDispatcher])
  try { create({ open() {} }) } catch (error) { console.log(error.code, error.message) }`,
    )
    const { code, output } = await project.run('peers.mjs')
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
    project.write(`${serviceAccount}.pem`, made.certificateChain)
    project.write(`${serviceAccount}.key`, made.privateKey())
    project.write('root.pem', made.trustBundle)
  }
  project.write(
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
  project.write(
    'credentials.d.cts',
    `import type { Credentials } from '@ambient/core'\nexport declare function credentialsOf(name: string): Credentials`,
  )
}

function linesOf(program: string): number {
  return program.trim().split('\n').length
}
