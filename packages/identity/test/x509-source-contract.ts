/** What every X509Source keeps, whatever stands behind it. */
import { inspect } from 'node:util'
import { type Clock, type Credentials, type Logger, silentLogger, type SpiffeId } from '@ambient/core'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import type { X509Source } from '../src/index.ts'

/** What the issuer does before anybody asks. */
export type Issuer = 'issues' | 'refuses' | 'says nothing'

export interface SourceBench {
  readonly source: X509Source
  readonly id: SpiffeId
  /** A new certificate for the same identity is on its way to the source. */
  renew(): Promise<unknown>
  /** From now on nothing new comes, and every attempt fails. */
  outage(): Promise<unknown>
  close(): Promise<unknown>
}

export interface SourceSubject {
  readonly name: string
  /** Certificates live for `ttlMs` by the clock. */
  open(options: {
    readonly clock: Clock
    readonly logger: Logger
    readonly issuer: Issuer
    readonly ttlMs: number
  }): Promise<SourceBench>
  /** A source that cannot be kept waiting: files are there or not. */
  readonly neverWaits?: boolean
}

const HOUR = 3_600_000

export function describeX509Source(subject: SourceSubject): void {
  interface Opened extends SourceBench {
    readonly clock: ManualClock
    readonly errors: string[]
  }
  const using = async (issuer: Issuer, run: (bench: Opened) => Promise<void>): Promise<void> => {
    const clock = createManualClock(Math.floor(Date.now() / 1_000) * 1_000)
    const errors: string[] = []
    const logger: Logger = { ...silentLogger, error: (_fields, message) => void errors.push(message) }
    const bench = await subject.open({ clock, logger, issuer, ttlMs: HOUR })
    try {
      await run({ ...bench, clock, errors })
    } finally {
      await bench.source.close()
      await bench.close()
      expect(clock.pending, 'timers left').toBe(0)
    }
  }
  const nextOf = (source: X509Source): Promise<Credentials> =>
    new Promise(resolve => {
      const stop = source.watch(credentials => {
        stop()
        resolve(credentials)
      })
    })

  describe(`an X509Source: ${subject.name}`, () => {
    it('gives credentials that are valid now and prove themselves, to all who wait', () =>
      using('issues', async ({ source, id, clock }) => {
        expect(source.current()).toBeUndefined()
        const [credentials, again] = await Promise.all([source.get(), source.get()])
        expect(again).toBe(credentials)
        expect(source.current()).toBe(credentials)
        expect(await source.get()).toBe(credentials)
        expect(credentials.id.uri).toBe(id.uri)
        expect(credentials.notAfter).toBeGreaterThan(clock.now())
        const chain = ders(credentials.certificateChain)
        expect(credentials.verifyPeer(chain, { kind: 'one-of', ids: [id] })).toMatchObject({ ok: true })
      }))

    it('tells its watchers of each generation, higher than the last', () =>
      using('issues', async ({ source, renew }) => {
        const seen: Credentials[] = []
        const stop = source.watch(credentials => void seen.push(credentials))
        const first = await source.get()
        const renewed = nextOf(source)
        await renew()
        const second = await renewed
        expect(second.generation).toBeGreaterThan(first.generation)
        expect(second.certificateChain).not.toBe(first.certificateChain)
        expect(source.current()).toBe(second)
        expect(await source.get()).toBe(second)
        expect(seen).toEqual([first, second])
        stop()
        const third = nextOf(source)
        await renew()
        await third
        expect(seen).toHaveLength(2)
      }))

    it('brings a watcher its first certificate without a get', () =>
      using('issues', async ({ source, id }) => {
        expect((await nextOf(source)).id.uri).toBe(id.uri)
      }))

    it('logs a listener that throws, and tells the others', () =>
      using('issues', async ({ source, renew, errors }) => {
        await source.get()
        source.watch(() => {
          throw new Error('a listener of the application')
        })
        const renewed = nextOf(source)
        await renew()
        await renewed
        expect(errors).toEqual(['a listener for new certificates failed'])
        expect(source.current()).toBe(await renewed)
      }))

    it('rejects with the reason of the signal', () =>
      using(subject.neverWaits === true ? 'issues' : 'says nothing', async ({ source }) => {
        const reason = new Error('no longer needed')
        await expect(source.get({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
        if (subject.neverWaits === true) return
        const abort = new AbortController()
        const waiting = source.get({ signal: abort.signal })
        abort.abort(reason)
        await expect(waiting).rejects.toBe(reason)
      }))

    it('says why there is no first certificate', () =>
      using('refuses', async ({ source }) => {
        const error = await source.get().catch((thrown: unknown) => thrown)
        expect(error).toMatchObject({ code: 'AMBIENT_E_IDENTITY_UNAVAILABLE' })
        expect((error as Error).cause).toBeDefined()
        expect(source.current()).toBeUndefined()
      }))

    it('gives the old certificate to its expiry, never past it', () =>
      using('issues', async ({ source, outage, clock }) => {
        const credentials = await source.get()
        await outage()
        clock.advance(credentials.notAfter - clock.now())
        expect(source.current()).toBe(credentials)
        expect(await source.get()).toBe(credentials)
        clock.advance(1)
        expect(source.current()).toBeUndefined()
        await expect(source.get()).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_EXPIRED' })
      }))

    it('ends for all when it is closed', () =>
      using(subject.neverWaits === true ? 'issues' : 'says nothing', async ({ source }) => {
        const waiting = source.get().then(
          () => 'given',
          (error: unknown) => (error as { code: string }).code,
        )
        await Promise.resolve()
        await source.close()
        await source.close()
        await source[Symbol.asyncDispose]()
        expect(await waiting).toBe(subject.neverWaits === true ? 'given' : 'AMBIENT_E_IDENTITY_CLOSED')
        expect(source.current()).toBeUndefined()
        await expect(source.get()).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_CLOSED' })
        source.watch(() => expect.fail('told after close'))()
      }))

    it('shows no key', () =>
      using('issues', async ({ source }) => {
        const credentials = await source.get()
        expect(credentials.privateKey()).toContain('PRIVATE KEY')
        const shown = [
          inspect(credentials, { depth: 9, showHidden: true }),
          JSON.stringify(credentials),
          inspect(source, { depth: 9, showHidden: true }),
          JSON.stringify(source),
        ]
        for (const text of shown) expect(text).not.toContain('PRIVATE KEY')
        expect(shown[0]).toContain('[redacted]')
      }))
  })
}

/** The certificates of a PEM text. */
export function ders(pem: string): Uint8Array[] {
  return [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END/g)].map(([, body = '']) =>
    Buffer.from(body, 'base64'),
  )
}
