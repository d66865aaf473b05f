/**
 * The packed `@ambient/identity`, installed in an empty project: an `https` server and client with rotating SVIDs from the
 * embedded CA in ten lines, as ESM, as CommonJS and as TypeScript. Says how much that is.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installedIn, installPacked, kibOf, type PackedProject } from './packed-project.ts'

const TIME_LIMIT_MS = 180_000
/** What a user downloads of ours: both packages, code in two module systems, types and source maps. */
const MAX_UNPACKED_KIB = 6 << 10

let project: PackedProject

beforeAll(async () => {
  project = await installPacked(['core', 'identity'], { timeoutMs: TIME_LIMIT_MS })
}, TIME_LIMIT_MS)

afterAll(() => project?.remove())

describe('@ambient/identity, packed and installed alone', () => {
  it('says how large it is, and what it brings', context => {
    context.skip(project.offline !== '', project.offline)
    const { modules } = project
    console.log(
      `@ambient/identity: ${kibOf(join(modules, '@ambient', 'identity'))} KiB unpacked, ` +
        `${kibOf(modules)} KiB with its ${installedIn(modules).length - 1} dependencies`,
    )
    expect(kibOf(join(modules, '@ambient'))).toBeLessThan(MAX_UNPACKED_KIB)
    expect(installedIn(join(modules, '@ambient'))).toEqual(['core', 'identity'])
  })

  it.for([
    ['ESM', 'main.mjs', asModule()],
    ['CommonJS', 'main.cjs', asCommonJs()],
  ] as const)('gives an https server and client in ten lines, as %s', async ([, file, program], context) => {
    context.skip(project.offline !== '', project.offline)
    project.write(file, program)
    expect(await project.run(file)).toEqual({ code: 0, output: OUTPUT })
  })

  it('needs ten lines for that, of which the last asks again after each rotation', () => {
    expect(PROGRAM.split(/\nfor /)[0]?.split('\n').length).toBeLessThan(10)
  })

  it('gives them as TypeScript, for both module systems', async context => {
    context.skip(project.offline !== '', project.offline)
    project.write('typed.mts', asModule())
    // CommonJS has no top-level await.
    const body = `${PROGRAM}\n${ENDING}`
    project.write(
      'typed.cts',
      `${IMPORTS}\nasync function main(): Promise<void> {\n${body}\n}\nvoid main()\n`,
    )
    await project.compile(['typed.mts', 'typed.cts'])
    expect(await project.run('typed.mjs')).toEqual({ code: 0, output: OUTPUT })
    expect(await project.run('typed.cjs')).toEqual({ code: 0, output: OUTPUT })
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
