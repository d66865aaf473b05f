/** A client and a scripted server, closed after each test. */
import { type Credentials, type Logger, silentLogger } from '@ambient/core'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import { afterEach, expect } from 'vitest'
import {
  createWorkloadApiSource,
  type WorkloadApiSource,
  type WorkloadApiSourceOptions,
} from '../src/index.ts'
import { type ScriptedServer, startScript } from './workload-api-script.ts'

export const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
export const API = 'spiffe://cluster.local/ns/shop/sa/api'
export const closers: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

export interface Listening {
  readonly logger: Logger
  readonly warnings: string[]
  warned(): Promise<string>
}

export function listening(): Listening {
  const warnings: string[] = []
  const waiting: ((text: string) => void)[] = []
  const note = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    const text = `${message}: ${String(fields['error'] ?? fields['reason'])}`
    warnings.push(text)
    for (const tell of waiting.splice(0)) tell(text)
  }
  return {
    logger: { ...silentLogger, warn: note },
    warnings,
    warned: () => new Promise(resolve => waiting.push(resolve)),
  }
}

export interface Pair extends Listening {
  readonly server: ScriptedServer
  readonly source: WorkloadApiSource
  readonly clock: ManualClock
}

export async function pair(
  script: Parameters<typeof startScript>[0] = {},
  options: Partial<WorkloadApiSourceOptions> = {},
): Promise<Pair> {
  const server = await startScript(script)
  closers.push(() => server.close())
  const clock = createManualClock(Date.now())
  const log = listening()
  const source = createWorkloadApiSource({
    address: server.address,
    clock,
    logger: log.logger,
    random: () => 0.5,
    ...options,
  })
  closers.push(async () => {
    await source.close()
    expect(clock.pending, 'timers left').toBe(0)
  })
  return { server, source, clock, ...log }
}

export function next(source: WorkloadApiSource): Promise<Credentials> {
  return new Promise(resolve => {
    const stop = source.watch(credentials => {
      stop()
      resolve(credentials)
    })
  })
}

export const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error as { code: unknown }).code,
  )
