/** Several identities of one Workload API behind the contract of a manager. */
import { parseSpiffeId, silentLogger } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { afterEach, describe, expect, it } from 'vitest'
import {
  createWorkloadApiIdentities,
  createWorkloadApiSource,
  type DueIdentity,
  type IdentityManager,
  type WorkloadApiSource,
  type WorkloadApiSourceOptions,
} from '../src/index.ts'
import {
  API,
  startWorkloadApi,
  WEB,
  type WorkloadApiBench,
  type WorkloadApiBenchOptions,
} from './workload-api-bench.ts'

const STRANGER = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/stranger')
const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

interface Desk {
  readonly bench: WorkloadApiBench
  readonly source: WorkloadApiSource
  readonly identities: IdentityManager
  readonly warnings: string[]
  /** Withdraws what is not in the list, and waits until that arrived. */
  give(due: readonly DueIdentity[]): Promise<void>
}

async function desk(
  options: Partial<WorkloadApiSourceOptions> = {},
  more: WorkloadApiBenchOptions = {},
): Promise<Desk> {
  let due: readonly DueIdentity[] = [{ id: WEB }, { id: API }]
  const bench = await startWorkloadApi({ attest: () => due, ...more })
  closers.push(() => bench.close())
  const timed = more.clock === undefined ? {} : { clock: more.clock }
  const warnings: string[] = []
  const heard: (() => void)[] = []
  const logger = {
    ...silentLogger,
    warn: (fields: Readonly<Record<string, unknown>>, message: string) => {
      warnings.push(`${message}: ${fields['identity']}`)
      for (const tell of heard.splice(0)) tell()
    },
  }
  const source = createWorkloadApiSource({
    address: bench.address,
    random: () => 0,
    ...timed,
    logger,
    ...options,
  })
  closers.push(() => source.close())
  const identities = createWorkloadApiIdentities(source, { logger, ...timed })
  closers.push(() => identities.close())
  return {
    bench,
    source,
    identities,
    warnings,
    async give(next) {
      due = next
      const arrived = new Promise<void>(resolve => heard.push(resolve))
      bench.server.refresh()
      await arrived
    },
  }
}

function next(identities: IdentityManager, id = WEB): Promise<number> {
  return new Promise(resolve => {
    const stop = identities.watch(id, ({ generation }) => {
      stop()
      resolve(generation)
    })
  })
}

describe('identities of a Workload API', () => {
  it('are had by ID, each of them', async () => {
    const { identities } = await desk()
    expect(identities.current(WEB)).toBeUndefined()
    const [web, api] = await Promise.all([identities.get(WEB), identities.get(API)])
    expect([web.id.uri, api.id.uri]).toEqual([WEB.uri, API.uri])
    expect(identities.current(API)).toBe(api)
    expect(identities.list()).toMatchObject([
      { identity: API.uri, state: 'Available', certChain: [expect.any(String)], notAfter: api.notAfter },
      { identity: WEB.uri, state: 'Available' },
    ])
  })

  it('that are not among them are refused, with the names of those that are', async () => {
    const { identities } = await desk()
    const refused = identities.get(STRANGER)
    await expect(refused).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_NOT_HELD' })
    await expect(refused).rejects.toThrow(`${WEB.uri}, ${API.uri}`)
    expect(identities.list()).toMatchObject([
      {},
      { identity: STRANGER.uri, state: expect.stringMatching(/^Unavailable: no credentials/), certChain: [] },
      {},
    ])
    identities.forget(STRANGER)
    expect(identities.list()).toHaveLength(2)
  })

  it('are had although the source picked none of them', async () => {
    const { identities } = await desk({ pick: () => undefined })
    expect((await identities.get(API)).id.uri).toBe(API.uri)
  })

  it('are watched each on its own: a rotation of one is no news of the other', async () => {
    const { bench, identities } = await desk()
    const [web, api] = await Promise.all([identities.get(WEB), identities.get(API)])
    const heard: string[] = []
    identities.watch(API, ({ id }) => void heard.push(id.uri))
    const renewed = next(identities)
    await bench.manager.rotate(WEB)
    expect(await renewed).toBeGreaterThan(web.generation)
    expect(identities.current(WEB)?.certificateChain).not.toBe(web.certificateChain)
    expect(identities.current(API)).toBe(api)
    expect(heard).toEqual([])
  })

  it('that are withdrawn are refused by name, the others are not', async () => {
    const { identities, give, warnings } = await desk()
    await identities.get(API)
    await give([{ id: WEB }])
    expect(warnings).toEqual([`the identity was withdrawn: ${API.uri}`])
    expect(identities.current(API)).toBeUndefined()
    const refused = identities.get(API)
    await expect(refused).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_WITHDRAWN' })
    await expect(refused).rejects.toThrow(
      `${API.uri} was withdrawn by the Workload API, which gives ${WEB.uri}`,
    )
    expect((await identities.get(WEB)).id.uri).toBe(WEB.uri)
    const again = next(identities, API)
    void give([{ id: WEB }, { id: API }])
    await again
    expect((await identities.get(API)).id.uri).toBe(API.uri)
  })

  it('that are all withdrawn are all refused', async () => {
    const { identities, give } = await desk()
    await identities.get(WEB)
    await give([])
    await expect(identities.get(WEB)).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_WITHDRAWN' })
    await expect(identities.get(STRANGER)).rejects.toThrow('gives no identity to this process')
  })

  it('that ran out are refused as such', async () => {
    const clock = createManualClock(Date.now())
    const { bench, identities } = await desk({}, { clock, ttlMs: 3_600_000 })
    await identities.get(WEB)
    await bench.server.close()
    clock.advance(3_700_000)
    await expect(identities.get(WEB)).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_EXPIRED' })
    expect(identities.list()[0]).toMatchObject({
      state: expect.stringContaining('expired at'),
      certChain: [expect.any(String)],
    })
  })

  it('are not rotated by us', async () => {
    const { identities } = await desk()
    await expect(identities.rotate(WEB)).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_ROTATION' })
  })

  it('are sources of their own', async () => {
    const { identities } = await desk()
    const source = identities.x509Source(API)
    expect((await source.get()).id.uri).toBe(API.uri)
    await source.close()
    expect(identities.current(API)).toBeDefined()
  })

  it('end without their source', async () => {
    const { identities, source } = await desk()
    await identities.get(WEB)
    await identities.close()
    await expect(identities.get(WEB)).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_CLOSED' })
    expect(identities.list()).toEqual([])
    expect(source.current()?.id.uri).toBe(WEB.uri)
  })

  it('of a socket that is not there are waited for, and the reason is said', async () => {
    const { bench, identities } = await desk()
    await bench.server.close()
    const refused = identities.get(WEB)
    await expect(refused).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_UNAVAILABLE' })
    expect(identities.list()).toMatchObject([{ state: expect.stringMatching(/^Unavailable: .*agent\.sock/) }])
    const first = next(identities)
    await bench.again()
    await first
    expect(identities.current(WEB)).toBeDefined()
  })

  it('that are asked for while everything ends are told so', async () => {
    const silent = await startWorkloadApi({ attest: () => new Promise(() => {}) })
    closers.push(() => silent.close())
    const source = createWorkloadApiSource({ address: silent.address })
    closers.push(() => source.close())
    const waiting = createWorkloadApiIdentities(source)
    const asked = waiting.get(WEB)
    await waiting.close()
    await expect(asked).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_CLOSED' })
  })
})
