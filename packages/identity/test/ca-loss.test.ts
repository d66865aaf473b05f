/** The 14 ways to lose a CA, over real gRPC: the old certificate to its end, then refusal, then recovery in time. */
import { EventEmitter } from 'node:events'
import { status } from '@grpc/grpc-js'
import { type Clock, parseSpiffeId, type SpiffeId } from '@ambient/core'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import { afterEach, describe, expect, it } from 'vitest'
import {
  type CertificateAuthority,
  createCertificateAuthority,
  createCertificateRequest,
  createIdentityManager,
  createIstioCaClient,
  type IdentityEvent,
  type IdentityManager,
} from '../src/index.ts'
import { type RunningServer, serve } from './ca-bench.ts'
import { addFakeCa } from './ca-wire.ts'

const MINUTE = 60_000
const TTL = 10 * MINUTE
/** The longest wait between two attempts: 150 s and a fifth of it. */
const CAP = 180_000
const id = (name: string): SpiffeId => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`)
const WEB = id('web')

type Answer = (csr: string, of: SpiffeId) => Promise<readonly string[]>

interface Bench {
  readonly manager: IdentityManager
  readonly clock: ManualClock
  readonly issuer: CertificateAuthority
  readonly events: readonly IdentityEvent[]
  readonly state: {
    answer: Answer
    token: string | undefined
    root: string
    calls: number
  }
  readonly good: Answer
  /** One that another clock issues. */
  at(clock: Clock): Promise<Answer>
  stop(): void
  listen(tls?: CertificateAuthority): Promise<void>
  /** Time passes until the next attempt has ended. */
  next(): Promise<IdentityEvent>
}

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function newBench(): Promise<Bench> {
  const clock = createManualClock()
  const issuer = await createCertificateAuthority({ trustDomain: 'cluster.local', clock })
  // Node judges the server's own certificate by its own clock.
  const tls = await createCertificateAuthority({ trustDomain: 'cluster.local' })
  const signedBy =
    (ca: CertificateAuthority): Answer =>
    async (csr, of) =>
      (await ca.sign({ csrPem: csr, id: of, ttlMs: TTL })).chain
  const good = signedBy(issuer)
  const state: Bench['state'] = { answer: good, token: 'token', root: tls.rootPem, calls: 0 }
  let server: RunningServer | undefined
  let port = 0
  const listen = async (as = tls): Promise<void> => {
    server = await serve(
      as,
      grpc =>
        addFakeCa(grpc, async request => {
          state.calls += 1
          const named = request.metadata?.['ImpersonatedIdentity']
          return state.answer(request.csr, parseSpiffeId(String(named)))
        }),
      { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'], port },
    )
    port = server.port
  }
  const stop = (): void => server?.close()
  await listen()
  const signer = createIstioCaClient({
    address: `https://127.0.0.1:${port}`,
    rootPem: () => state.root,
    token: () => {
      if (state.token === undefined) throw new Error('ENOENT: no token file')
      return state.token
    },
    clusterId: 'Kubernetes',
    impersonate: true,
    callTimeoutMs: 2_000,
    clock,
  })
  const events: IdentityEvent[] = []
  const heard = new EventEmitter()
  const manager = createIdentityManager({
    signer,
    clock,
    ttlMs: TTL,
    onEvent(event) {
      events.push(event)
      heard.emit('event', event)
    },
  })
  cleanups.push(async () => {
    await manager.close()
    await signer.close()
    stop()
    expect(clock.pending).toBe(0)
  })
  const next = async (): Promise<IdentityEvent> => {
    const outcome = new Promise<IdentityEvent>(resolve => {
      const listener = (event: IdentityEvent): void => {
        if (event.kind === 'expired') return
        heard.off('event', listener)
        resolve(event)
      }
      heard.on('event', listener)
    })
    const due = manager.list()[0]?.nextRotation ?? clock.now()
    // A whole number past it: so long after the epoch, fractions of a millisecond are rounded.
    clock.advance(Math.ceil(Math.max(0, due - clock.now())) + 1)
    return outcome
  }
  const at = async (other: Clock): Promise<Answer> =>
    signedBy(await createCertificateAuthority({ trustDomain: 'cluster.local', clock: other }))
  return { manager, clock, issuer, events, state, good, at, stop, listen, next }
}

/** What every case has to be like, whatever goes wrong at the renewal. */
async function rides(bench: Bench, begin: () => unknown, end: () => unknown, reason: RegExp): Promise<void> {
  const { manager, clock, events } = bench
  const first = await manager.get(WEB)
  await begin()
  while (clock.now() <= first.notAfter) {
    expect(await manager.get(WEB)).toBe(first)
    expect(await bench.next()).toMatchObject({ kind: 'failed' })
  }
  expect(manager.current(WEB)).toBeUndefined()
  const error = await manager.get(WEB).catch((failure: unknown) => failure)
  expect(error).toMatchObject({ code: 'AMBIENT_E_IDENTITY_EXPIRED', message: expect.stringMatching(reason) })
  expect(events.filter(({ kind }) => kind === 'expired')).toHaveLength(1)
  expect(events.length, 'patience').toBeLessThan(20)
  await end()
  const down = clock.now()
  expect(await bench.next()).toMatchObject({ kind: 'renewed' })
  expect(clock.now() - down).toBeLessThanOrEqual(CAP)
  expect((await manager.get(WEB)).notAfter).toBeGreaterThan(clock.now())
}

describe('a CA that', () => {
  it('1: is down at the start is waited for', async () => {
    const bench = await newBench()
    bench.stop()
    await expect(bench.manager.get(WEB)).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_UNAVAILABLE' })
    expect(await bench.next()).toMatchObject({ kind: 'failed', attempt: 2, isServed: false })
    await bench.listen()
    expect(await bench.next()).toMatchObject({ kind: 'issued' })
    expect(bench.manager.current(WEB)?.id.uri).toBe(WEB.uri)
  })

  it('2: is down at the renewal', async () => {
    const bench = await newBench()
    await rides(bench, bench.stop, () => bench.listen(), /UNAVAILABLE/)
  })

  it('3: takes a minute for an answer', { timeout: 60_000 }, async () => {
    const bench = await newBench()
    const first = await bench.manager.get(WEB)
    let late = (): void => {}
    bench.state.answer = async (csr, of) => {
      await new Promise<void>(resolve => {
        late = resolve
      })
      return bench.good(csr, of)
    }
    const failed = await bench.next()
    expect(failed).toMatchObject({
      kind: 'failed',
      isServed: true,
      error: { code: 'AMBIENT_E_CA_UNREACHABLE' },
    })
    late()
    expect(await bench.manager.get(WEB), 'an answer to nobody is not used').toBe(first)
    bench.state.answer = bench.good
    expect(await bench.next()).toMatchObject({ kind: 'renewed' })
  })

  const wrong: [string, RegExp, (bench: Bench) => Promise<Answer>][] = [
    [
      '4: answers for another identity',
      /expected spiffe/,
      async ({ good }) =>
        csr =>
          good(csr, id('other')),
    ],
    [
      '5: answers for another key',
      /another key/,
      async ({ good }) =>
        async (_csr, of) =>
          good((await createCertificateRequest(of)).csrPem, of),
    ],
    [
      '6: gives what has expired',
      /expired/,
      async ({ at, clock }) => at({ ...clock, now: () => clock.now() - 30 * MINUTE }),
    ],
    ['7: answers with nothing', /the chain is empty/, async () => async () => []],
    [
      '8: answers with a megabyte',
      /RESOURCE_EXHAUSTED|larger than/,
      async ({ good }) =>
        async (csr, of) => [...(await good(csr, of)), 'x'.repeat(1_100_000)],
    ],
    [
      '9: has too many requests',
      /RESOURCE_EXHAUSTED.*slow down/,
      async () => () => Promise.reject({ code: status.RESOURCE_EXHAUSTED, details: 'slow down' }),
    ],
    [
      '13: has another time',
      /not valid before/,
      async ({ at, clock }) => at({ ...clock, now: () => clock.now() + 60 * MINUTE }),
    ],
  ]
  for (const [name, reason, spoil] of wrong)
    it(name, { timeout: 60_000 }, async () => {
      const bench = await newBench()
      const spoiled = await spoil(bench)
      await rides(
        bench,
        () => {
          bench.state.answer = spoiled
        },
        () => {
          bench.state.answer = bench.good
        },
        reason,
      )
    })

  it('10: is not asked without a token', async () => {
    const bench = await newBench()
    const before = bench.state.calls + 1
    await rides(
      bench,
      () => {
        bench.state.token = undefined
      },
      () => {
        expect(bench.state.calls).toBe(before)
        bench.state.token = 'another'
      },
      /no token file/,
    )
  })

  it('11: has another root is believed once its root file says so', async () => {
    const bench = await newBench()
    const other = await createCertificateAuthority({ trustDomain: 'cluster.local' })
    await rides(
      bench,
      async () => {
        bench.stop()
        await bench.listen(other)
      },
      () => {
        bench.state.root += other.rootPem
      },
      /UNAVAILABLE|certificate/,
    )
  })

  it('12: flaps is asked again as patiently as at first', async () => {
    const bench = await newBench()
    await bench.manager.get(WEB)
    for (let round = 0; round < 4; round += 1) {
      bench.state.answer = () => Promise.reject({ code: status.UNAVAILABLE, details: 'flap' })
      expect(await bench.next()).toMatchObject({ kind: 'failed', attempt: 1, isServed: true })
      bench.state.answer = bench.good
      const before = bench.clock.now()
      expect(await bench.next()).toMatchObject({ kind: 'renewed' })
      expect(bench.clock.now() - before).toBeLessThanOrEqual(1_200)
    }
    expect(bench.state.calls).toBe(9)
  })

  it('14: is asked for 500 identities at once gets eight calls at a time, and one for each', {
    timeout: 60_000,
  }, async () => {
    const bench = await newBench()
    let [running, peak] = [0, 0]
    bench.state.answer = async (csr, of) => {
      running += 1
      peak = Math.max(peak, running)
      try {
        return await bench.good(csr, of)
      } finally {
        running -= 1
      }
    }
    const all = await Promise.all(
      Array.from({ length: 500 }, (_, index) => bench.manager.get(id(`w${index}`))),
    )
    expect(new Set(all.map(({ id: own }) => own.uri)).size).toBe(500)
    expect(bench.state.calls).toBe(500)
    expect(peak).toBeLessThanOrEqual(8)
  })
})
