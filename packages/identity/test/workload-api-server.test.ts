/** Our server of the Workload API: who is let in, and what is pushed. */
import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import {
  Client,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { type Credentials, parseSpiffeId } from '@ambient/core'
import { afterEach, describe, expect, it } from 'vitest'
import {
  attestBySelectors,
  createCertificateAuthorityFiles,
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiServer,
  createWorkloadApiSource,
  type DueIdentity,
  openCertificateAuthority,
  type WorkloadApiSource,
  type WorkloadApiSourceOptions,
  type WorkloadCaller,
} from '../src/index.ts'
import type { SpiffeBundle } from '../src/bundle/spiffe-bundle.ts'
import {
  JWTBundlesRequestSchema,
  JWTSVIDRequestSchema,
  ValidateJWTSVIDRequestSchema,
  X509BundlesRequestSchema,
  type X509BundlesResponse,
  X509SVIDRequestSchema,
} from '../src/gen/workload-api_pb.ts'
import { createTestIdentities } from '../src/testing/index.ts'
import { securityMetadata, workloadApi } from '../src/workload-api/protocol.ts'
import {
  API,
  startWorkloadApi,
  WEB,
  type WorkloadApiBench,
  type WorkloadApiBenchOptions,
} from './workload-api-bench.ts'
import { ders } from './x509-source-contract.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function bench(options: WorkloadApiBenchOptions = {}): Promise<WorkloadApiBench> {
  const started = await startWorkloadApi(options)
  closers.push(() => started.close())
  return started
}

function sourceOf(address: string, options: Partial<WorkloadApiSourceOptions> = {}): WorkloadApiSource {
  const source = createWorkloadApiSource({ address, random: () => 0, ...options })
  closers.push(() => source.close())
  return source
}

function next(source: WorkloadApiSource): Promise<Credentials> {
  return new Promise(resolve => {
    const stop = source.watch(found => {
      stop()
      resolve(found)
    })
  })
}

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error as { code: unknown }).code,
  )

/** The first answer to a call without our manners, or its status. */
function ask<Request, Response>(
  address: string,
  method: MethodDefinition<Request, Response>,
  request: Request,
  metadata = new Metadata(),
): Promise<Response | status> {
  const client = new Client(address, credentials.createInsecure())
  return new Promise<Response | status>(resolve => {
    const { path, requestSerialize, responseDeserialize } = method
    if (method.responseStream) {
      const call = client.makeServerStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
      )
      call.once('data', (response: Response) => {
        call.cancel()
        resolve(response)
      })
      call.on('error', (error: ServiceError) => resolve(error.code))
    } else
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        (error, response) =>
          resolve(error === null && response !== undefined ? response : (error?.code ?? status.UNKNOWN)),
      )
  }).finally(() => client.close())
}

const header = (...values: string[]): Metadata => {
  const metadata = new Metadata()
  for (const value of values) metadata.add('workload.spiffe.io', value)
  return metadata
}

describe('who is let in', () => {
  it.each([
    ['no header', header()],
    ['false', header('false')],
    ['TRUE', header('TRUE')],
    ['twice', header('true', 'true')],
  ])('nobody with %s, whatever the method', async (_name, metadata) => {
    const { address } = await bench()
    const answers = await Promise.all([
      ask(address, workloadApi.fetchX509Svid, create(X509SVIDRequestSchema), metadata),
      ask(address, workloadApi.fetchX509Bundles, create(X509BundlesRequestSchema), metadata),
      ask(address, workloadApi.fetchJwtSvid, create(JWTSVIDRequestSchema, { audience: ['a'] }), metadata),
      ask(address, workloadApi.fetchJwtBundles, create(JWTBundlesRequestSchema), metadata),
      ask(address, workloadApi.validateJwtSvid, create(ValidateJWTSVIDRequestSchema), metadata),
    ])
    expect(answers).toEqual(Array(5).fill(status.INVALID_ARGUMENT))
  })

  it.each([
    ['nothing is due', () => []],
    [
      'the policy fails',
      () => {
        throw new Error('no database')
      },
    ],
  ] as const)('nobody to whom %s, whatever the method', async (_name, attest) => {
    const { address, jwt } = await bench({ attest })
    const { token } = await jwt.sign({ id: WEB, audience: ['a'] })
    const metadata = securityMetadata()
    const answers = await Promise.all([
      ask(address, workloadApi.fetchX509Svid, create(X509SVIDRequestSchema), metadata),
      ask(address, workloadApi.fetchX509Bundles, create(X509BundlesRequestSchema), metadata),
      ask(address, workloadApi.fetchJwtSvid, create(JWTSVIDRequestSchema, { audience: ['a'] }), metadata),
      ask(address, workloadApi.fetchJwtBundles, create(JWTBundlesRequestSchema), metadata),
      ask(
        address,
        workloadApi.validateJwtSvid,
        create(ValidateJWTSVIDRequestSchema, { svid: token, audience: 'a' }),
        metadata,
      ),
    ])
    expect(answers).toEqual(Array(5).fill(status.PERMISSION_DENIED))
  })

  it('selectors fit what is known, and never what is not', () => {
    const caller: WorkloadCaller = { socket: '/run/a.sock', evidence: 'socket-folder', uid: 1000 }
    const due = (selectors: object): readonly DueIdentity[] => {
      const attest = attestBySelectors([{ id: WEB, selectors }])
      return attest(caller) as readonly DueIdentity[]
    }
    expect(due({ uid: 1000 })).toEqual([{ id: WEB }])
    expect(due({ uid: 1000, socket: '/run/a.sock' })).toHaveLength(1)
    expect(due({ uid: 1001 })).toEqual([])
    expect(due({ uid: 1000, gid: 1000 }), 'a group is not known').toEqual([])
    expect(due({ pid: 7 }), 'a process is not known').toEqual([])
    expect(due({ socket: '/run/b.sock' })).toEqual([])
    expect(() => due({})).toThrow(expect.objectContaining({ code: 'AMBIENT_E_IDENTITY_OPTION' }))
  })
})

describe('what is pushed', () => {
  it('every identity, in the order of the policy, with its hint', async () => {
    const { address } = await bench({ attest: () => [{ id: API, hint: 'external' }, { id: WEB }] })
    const source = sourceOf(address)
    expect((await source.get()).id.uri).toBe(API.uri)
    expect(source.svids().map(({ id, hint }) => [id.uri, hint])).toEqual([
      [API.uri, 'external'],
      [WEB.uri, ''],
    ])
  })

  it('renewals, withdrawals and new registrations, over one stream', async () => {
    let due: readonly DueIdentity[] = [{ id: WEB }]
    let asked = 0
    const { address, manager, server } = await bench({
      attest: () => {
        asked += 1
        return due
      },
    })
    const source = sourceOf(address)
    const first = await source.get()
    for (let round = 0; round < 3; round += 1) {
      const renewed = next(source)
      const issued = await manager.rotate(WEB)
      expect((await renewed).certificateChain).toBe(issued.certificateChain)
    }
    due = [{ id: API }]
    const other = next(source)
    server.refresh()
    expect((await other).id.uri).toBe(API.uri)
    due = []
    server.refresh()
    await expect.poll(() => source.current()).toBeUndefined()
    expect(await codeOf(source.get())).toBe('AMBIENT_E_IDENTITY_WITHDRAWN')
    expect(first.id.uri).toBe(WEB.uri)
    expect(asked).toBeGreaterThan(4)
  })

  it('bundles of a federation as they come and go', async () => {
    const partner = await createTestIdentities({ trustDomain: 'partner.example' })
    const friend = await partner.credentials('spiffe://partner.example/billing')
    let bundles: ReadonlyMap<string, SpiffeBundle> = new Map()
    let tell: () => void = () => {}
    const { address } = await bench({
      federation: {
        bundles: () => bundles,
        watch: changed => {
          const bundle = bundles.get('partner.example')
          tell = () =>
            changed(
              bundle ?? { trustDomain: '', x509Authorities: [], jwtAuthorities: new Map(), ignored: [] },
            )
          return () => {
            tell = () => {}
          }
        },
      },
    })
    const source = sourceOf(address)
    expect((await source.get()).federatedBundles.size).toBe(0)
    bundles = new Map([
      [
        'partner.example',
        {
          trustDomain: 'partner.example',
          x509Authorities: ders(friend.trustBundle),
          jwtAuthorities: new Map(),
          ignored: [],
        },
      ],
    ])
    let changed = next(source)
    tell()
    expect((await changed).verifyPeer(ders(friend.certificateChain), { kind: 'any' })).toMatchObject({
      ok: true,
    })
    const answer = await ask(
      address,
      workloadApi.fetchX509Bundles,
      create(X509BundlesRequestSchema),
      securityMetadata(),
    )
    expect(Object.keys((answer as X509BundlesResponse).bundles)).toEqual([
      'spiffe://cluster.local',
      'spiffe://partner.example',
    ])
    bundles = new Map()
    changed = next(source)
    tell()
    expect((await changed).federatedBundles.size).toBe(0)
  })

  it('roots as soon as they change, with the certificate that is held; and revocation lists', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'ambient-ca-'))
    closers.push(() => rm(folder, { recursive: true, force: true }))
    await createCertificateAuthorityFiles({ dir: folder, trustDomain: 'cluster.local' })
    const ca = await openCertificateAuthority({ dir: folder })
    const manager = createIdentityManager({ signer: createLocalSigner(ca) })
    closers.push(
      () => ca.close(),
      () => manager.close(),
    )
    const { address, server } = await bench({
      credentials: manager,
      authority: ca,
      revocationLists: () => ca.revocationLists(),
    })
    const source = sourceOf(address)
    const before = await source.get()
    const changed = next(source)
    await ca.rotateRoot('add')
    const after = await changed
    expect(after.certificateChain).toBe(before.certificateChain)
    expect(ders(after.trustBundle)).toEqual(ders(ca.rootPem))
    expect(ders(after.trustBundle)).toHaveLength(2)
    expect(ders(before.trustBundle)).toHaveLength(1)
    const peer = await manager.get(API)
    const chain = ders(peer.certificateChain)
    expect(after.verifyPeer(chain, { kind: 'any' })).toMatchObject({ ok: true })
    const listed = next(source)
    await ca.revoke(new X509Certificate(peer.certificateChain).toString())
    server.refresh()
    expect((await listed).verifyPeer(chain, { kind: 'any' })).toMatchObject({ problem: 'revoked' })
  })

  it('a clean end when the server closes, so that clients find the next one at once', async () => {
    const started = await bench()
    const source = sourceOf(started.address)
    const before = await source.get()
    await started.server.close({ graceMs: 1_000 })
    await started.again({ attest: () => [{ id: API }] })
    expect((await next(source)).id.uri).toBe(API.uri)
    expect(before.id.uri).toBe(WEB.uri)
  })
})

describe('JWT-SVIDs', () => {
  it('are signed for who is asking, and proven by their bundles; a new key is known before its first token', async () => {
    const { address, jwt } = await bench({ attest: () => [{ id: WEB, hint: 'a' }, { id: API }] })
    const source = sourceOf(address)
    const first = await source.fetchJwtSvid({ audience: 'spiffe://cluster.local/ns/shop/sa/db' })
    expect(first).toMatchObject({ id: WEB, hint: 'a', audience: ['spiffe://cluster.local/ns/shop/sa/db'] })
    expect(JSON.stringify(first)).not.toContain(first.token)
    const validate = (token: string, audience = 'db'): ReturnType<WorkloadApiSource['validateJwtSvid']> =>
      source.validateJwtSvid({ token, audience })
    const { token } = await source.fetchJwtSvid({ audience: ['db'], id: API })
    expect(await validate(token)).toMatchObject({ ok: true, svid: { id: API } })
    expect(await validate(token, 'other')).toMatchObject({ ok: false, problem: 'audience' })
    expect(await validate(`${token}x`)).toMatchObject({ ok: false })
    expect(source.bundles().get('cluster.local')?.jwtAuthorities.size).toBe(1)
    await jwt.rotate()
    const renewed = await source.fetchJwtSvid({ audience: 'db' })
    await expect.poll(() => source.bundles().get('cluster.local')?.jwtAuthorities.size).toBe(2)
    expect(await validate(renewed.token)).toMatchObject({ ok: true })
    expect(await validate(token)).toMatchObject({ ok: true })
  })

  it('are refused for others, for nobody, and after close', async () => {
    const { address } = await bench()
    const source = sourceOf(address)
    const stranger = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/db')
    await expect(source.fetchJwtSvid({ audience: 'db', id: stranger })).rejects.toMatchObject({
      code: 'AMBIENT_E_WORKLOAD_API',
      message: expect.stringContaining('PERMISSION_DENIED'),
    })
    expect(await codeOf(source.fetchJwtSvid({ audience: [] }))).toBe('AMBIENT_E_IDENTITY_OPTION')
    const reason = new Error('enough')
    await expect(source.fetchJwtSvid({ audience: 'db', signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    )
    const many = create(JWTSVIDRequestSchema, { audience: Array<string>(33).fill('x') })
    expect(await ask(address, workloadApi.fetchJwtSvid, many, securityMetadata())).toBe(
      status.INVALID_ARGUMENT,
    )
    const running = codeOf(source.fetchJwtSvid({ audience: 'db' }))
    await source.close()
    expect(await running).toBe('AMBIENT_E_IDENTITY_CLOSED')
    expect(await codeOf(source.fetchJwtSvid({ audience: 'db' }))).toBe('AMBIENT_E_IDENTITY_CLOSED')
    expect(await codeOf(source.validateJwtSvid({ token: 'x', audience: 'db' }))).toBe(
      'AMBIENT_E_IDENTITY_CLOSED',
    )
  })

  it('are none of the business of a server without an authority', async () => {
    const started = await bench()
    await started.server.close()
    const at = join(started.folder, 'no-jwt.sock')
    const server = createWorkloadApiServer({
      listen: `unix://${at}`,
      attest: () => [{ id: WEB }],
      credentials: started.manager,
    })
    closers.push(() => server.close())
    await server.start()
    const source = sourceOf(`unix://${at}`)
    await expect(source.fetchJwtSvid({ audience: 'db' })).rejects.toThrow(/UNIMPLEMENTED/)
    await expect(source.validateJwtSvid({ token: 'x', audience: 'db' })).rejects.toThrow(/UNIMPLEMENTED/)
    expect((await source.get()).id.uri).toBe(WEB.uri)
  })
})
