/** No key and no token in what dumps, errors and logs show of the objects that hold one. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import * as https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Server } from '@grpc/grpc-js'
import { type Logger, parseSpiffeId } from '@ambient/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  authenticateCallers,
  type CaCall,
  connectTls,
  createCaServer,
  createCertificateAuthority,
  createCertificateAuthorityFiles,
  createCertificateRequest,
  createFileSource,
  createGrpcChannelCredentials,
  createGrpcServerCredentials,
  createHttpsAgent,
  createIdentityManager,
  createIstioCaClient,
  createJwtAuthority,
  createLocalSigner,
  createTlsOptions,
  createTokenFile,
  openCertificateAuthority,
  readTokens,
  secureServer,
} from '../src/index.ts'
import { cleanup, listening } from './tls-fixtures.ts'

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web')
const TOKEN = 'sesame-open-1f0c2b7e'
const SECRET = /PRIVATE KEY|sesame/

/** Everything that these tests print, and everything that is shown of what they hold. */
let shown: string[] = []
let folder = ''

beforeEach(async () => {
  shown = []
  folder = await mkdtemp(join(tmpdir(), 'ambient-redaction-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const line = (...values: unknown[]): void => void shown.push(inspect(values, { depth: 12 }) + json(values))
const logger: Logger = { debug: line, info: line, warn: line, error: line }

function json(value: unknown): string {
  const seen = new WeakSet<object>()
  const text: string | undefined = JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === 'bigint') return String(part)
    if (typeof part !== 'object' || part === null) return part
    if (seen.has(part)) return undefined
    seen.add(part)
    return part
  })
  // A function has none.
  return text ?? ''
}

/** The deepest look that the platform offers; keys as bytes are looked for as well. */
function dump(holder: unknown, ...keys: readonly string[]): void {
  const texts = [
    inspect(holder, { depth: 12, showHidden: true, maxStringLength: null, maxArrayLength: null }),
    json(holder),
    String(holder),
  ]
  for (const text of texts) {
    expect(text).not.toMatch(SECRET)
    for (const key of keys) expect(text).not.toContain(key)
  }
}

/** A line of the key's base64, which no shortening of the text hides. */
const lineOf = (pem: string): string => pem.split('\n')[1] ?? ''

describe('keys', () => {
  it('are shown by nothing that holds one', async () => {
    const ca = await createCertificateAuthority({ trustDomain: 'cluster.local', logger })
    await createCertificateAuthorityFiles({ dir: join(folder, 'ca'), trustDomain: 'cluster.local' })
    const filed = await openCertificateAuthority({ dir: join(folder, 'ca'), logger })
    const request = await createCertificateRequest(WEB)
    const server = await ca.issueServerCertificate({ dnsNames: ['localhost'], ipAddresses: [] })
    const signer = createLocalSigner(ca)
    const manager = createIdentityManager({ signer, logger })
    cleanup(() => manager.close())
    const credentials = await manager.get(WEB)
    const key = lineOf(credentials.privateKey())
    const source = manager.x509Source(WEB)
    const expectation = { kind: 'any' } as const
    const options = createTlsOptions(source, { role: 'server' })
    const secured = secureServer(https.createServer(), source)
    const port = await listening(secured)
    const socket = await connectTls(source, { host: '127.0.0.1', port, expect: expectation })
    cleanup(() => socket.destroy())
    for (const holder of [
      ca,
      filed,
      request,
      server,
      signer,
      manager,
      manager.list(),
      credentials,
      source,
      options,
      createTlsOptions(source, { expect: expectation }),
      secured,
      socket,
      createHttpsAgent(source, { expect: expectation }),
      createGrpcChannelCredentials(source, { expect: expectation }),
      createGrpcServerCredentials(source),
    ])
      dump(holder, key, lineOf(request.privateKey), lineOf(server.privateKey))
    for (const holder of [request, server, credentials, options])
      expect(inspect(holder) + json(holder)).toMatch(/\[redacted\].*\[redacted\]/s)
    expect(shown.join('')).not.toMatch(SECRET)
  })

  it('are not shown by servers that others make of them, now and after a rotation', async () => {
    const manager = createIdentityManager({
      signer: createLocalSigner(await createCertificateAuthority({ trustDomain: 'cluster.local' })),
    })
    cleanup(() => manager.close())
    const source = manager.x509Source(WEB)
    await source.get()
    const options = createTlsOptions(source, { role: 'server' })
    const called = new Server()
    cleanup(() => called.forceShutdown())
    await new Promise<void>((resolve, reject) =>
      called.bindAsync('127.0.0.1:0', createGrpcServerCredentials(source), error =>
        error === null ? resolve() : reject(error),
      ),
    )
    const credentials = await manager.rotate(WEB)
    for (const holder of [https.createServer(options), { ...options }, called])
      dump(holder, lineOf(credentials.privateKey()))
  })

  it('of files are not quoted by errors or logs, however broken', async () => {
    const ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    const { csrPem, privateKey } = await createCertificateRequest(WEB)
    const { chain } = await ca.sign({ csrPem, id: WEB })
    const paths = {
      certificate: join(folder, 'cert-chain.pem'),
      privateKey: join(folder, 'key.pem'),
      trustBundle: join(folder, 'root-cert.pem'),
    }
    await writeFile(paths.certificate, chain[0] ?? '')
    await writeFile(paths.trustBundle, ca.rootPem)
    const other = await createCertificateRequest(WEB)
    for (const broken of [
      other.privateKey,
      privateKey.slice(0, -30),
      privateKey.replace('PRIVATE', 'SECRET'),
      `${privateKey}${other.privateKey}`.replaceAll('\n', ' '),
    ]) {
      await writeFile(paths.privateKey, broken)
      const source = createFileSource({ ...paths, logger })
      const error = await source.get().then(
        () => undefined,
        (cause: unknown) => cause,
      )
      dump(source, lineOf(privateKey), lineOf(other.privateKey))
      if (error !== undefined) dump(error, lineOf(privateKey), lineOf(other.privateKey))
      await source.close()
    }
    await writeFile(paths.privateKey, privateKey)
    const source = createFileSource({ ...paths, logger })
    await source.get()
    dump(source, lineOf(privateKey))
    await source.close()
    const printed = shown.join('')
    for (const text of [lineOf(privateKey), lineOf(other.privateKey)]) expect(printed).not.toContain(text)
    expect(printed).not.toMatch(/BEGIN [A-Z ]*KEY/)
  })
})

describe('tokens', () => {
  it('are shown by neither end of a call, granted or refused', async () => {
    const ca = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    await writeFile(join(folder, 'tokens'), `${TOKEN} ${WEB.uri}\n`)
    const tokens = createTokenFile(join(folder, 'tokens'))
    dump(await tokens())
    dump(tokens)
    const calls: CaCall[] = []
    const authorize = authenticateCallers({ ca, tokens })
    dump(authorize)
    const server = createCaServer({
      ca,
      host: '127.0.0.1',
      port: 0,
      logger,
      authorize: call => {
        calls.push(call)
        logger.info({ call }, 'asked')
        return authorize(call)
      },
    })
    cleanup(() => server.close({ graceMs: 0 }))
    const port = await server.start()
    const outcomes: unknown[] = []
    for (const token of [TOKEN, `${TOKEN}-wrong`]) {
      const client = createIstioCaClient({
        address: `https://127.0.0.1:${port}`,
        rootPem: () => ca.rootPem,
        token: () => token,
        clusterId: 'Kubernetes',
        impersonate: false,
        logger,
      })
      const { csrPem } = await createCertificateRequest(WEB)
      outcomes.push(
        await client.sign({ id: WEB, csrPem, ttlMs: 60_000 }).catch((error: unknown) => {
          dump(error)
          return 'refused'
        }),
      )
      dump(client)
      await client.close()
    }
    expect(outcomes).toEqual([expect.any(Array), 'refused'])
    expect(calls.map(call => call.token)).toEqual([TOKEN, `${TOKEN}-wrong`])
    for (const call of calls) {
      dump(call)
      expect(inspect(call) + json(call)).toMatch(/\[redacted\].*\[redacted\]/s)
    }
    dump(server)
    expect(shown.join('')).not.toMatch(SECRET)
  })

  it('that were issued show neither themselves nor their key', async () => {
    const jwt = await createJwtAuthority({ trustDomain: 'cluster.local' })
    const issued = await jwt.sign({ id: WEB, audience: ['db'] })
    const signature = issued.token.split('.')[2] ?? ''
    dump(jwt)
    for (const text of [inspect(issued, { showHidden: true }), json(issued)]) {
      expect(text).toContain('[redacted]')
      expect(text).not.toContain(signature)
    }
    for (const key of jwt.authorities().values()) expect(key).not.toHaveProperty('d')
  })

  it('of a file with mistakes are not quoted', () => {
    for (const text of [`${TOKEN} nobody`, `${TOKEN}`, `${TOKEN} ${WEB.uri}\n${TOKEN} ${WEB.uri}`])
      try {
        readTokens(text)
        expect.unreachable()
      } catch (error) {
        dump(error)
      }
  })
})
