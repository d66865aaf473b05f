/**
 * A process whose clock jumps (libfaketime) or that is stopped for longer than its certificates live: each identity is renewed
 * once, nobody is served or believed with an expired certificate, no timer is negative. LIBFAKETIME=path names the library.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'

const PROGRAM = fileURLToPath(new URL('fixtures/clock-process.mjs', import.meta.url))
const IDENTITIES = 20
const HOUR = 3_600_000

/** Where distributions put it. */
function findLibrary(): string | undefined {
  const given = process.env['LIBFAKETIME']
  if (given !== undefined) return existsSync(given) ? given : undefined
  const bases = ['/usr/lib', '/usr/lib64', '/usr/local/lib']
  const folders = bases.flatMap(base => [
    base,
    ...(existsSync(base) ? readdirSync(base).filter(name => name.endsWith('-linux-gnu')) : []).map(name =>
      join(base, name),
    ),
  ])
  return folders.map(folder => join(folder, 'faketime', 'libfaketimeMT.so.1')).find(existsSync)
}

const library = findLibrary()
const skipped = library === undefined ? ' (skipped: there is no libfaketime)' : ''

const cleanups: (() => unknown)[] = []
const atEnd = (run: () => unknown): void => void cleanups.push(run)
afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

interface Facts {
  /** Certificates that the CA has signed until now. */
  readonly signed: number
  readonly now: number
  readonly failed?: number
  readonly verdict?: string
}

interface Machine {
  ask(line: 'get' | 'visit' | 'visitWithFirst' | 'rest'): Promise<Facts>
  /** Away from the true time. */
  setClock(seconds: number): void
  signal(name: 'SIGCONT' | 'SIGSTOP'): void
  errors(): string
}

async function machine(ttlMs: number, preload?: string): Promise<Machine> {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-clock-'))
  atEnd(() => rmSync(folder, { recursive: true, force: true }))
  const clock = join(folder, 'clock')
  const setClock = (seconds: number): void =>
    writeFileSync(clock, `${seconds < 0 ? '-' : '+'}${Math.abs(seconds)}\n`)
  setClock(0)
  const faked = {
    LD_PRELOAD: preload,
    FAKETIME_TIMESTAMP_FILE: clock,
    FAKETIME_NO_CACHE: '1',
    // Timers are the kernel's, as on a machine whose clock is set.
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  }
  const child = spawn(process.execPath, [PROGRAM, String(IDENTITIES), String(ttlMs)], {
    env: { ...process.env, ...(preload === undefined ? {} : faked) },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let errors = ''
  child.stderr.on('data', (bytes: Buffer) => {
    errors += bytes.toString()
  })
  const gone = once(child, 'exit')
  atEnd(async () => {
    child.kill('SIGKILL')
    await gone
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async (): Promise<Facts> => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error(`the process ended: ${errors}`)
    return JSON.parse(value)
  }
  expect(await next()).toMatchObject({ signed: IDENTITIES })
  return {
    setClock,
    signal: name => void child.kill(name),
    errors: () => errors,
    ask(line) {
      child.stdin.write(`${line}\n`)
      return next()
    },
  }
}

describe.skipIf(library === undefined)(`a clock that jumps${skipped}`, { timeout: 60_000 }, () => {
  it.each([
    ['2 hours', 2 * 3_600],
    ['400 days', 400 * 86_400],
  ])('forward by %s: everybody has one new certificate, the old ones are refused', async (_name, seconds) => {
    const { setClock, ask, errors } = await machine(HOUR, library)
    expect(await ask('visit')).toMatchObject({ verdict: 'believed' })
    const { now } = await ask('visitWithFirst')
    setClock(seconds)
    expect(await ask('get')).toMatchObject({ failed: 0, signed: 2 * IDENTITIES })
    expect((await ask('visitWithFirst')).now).toBeGreaterThan(now + (seconds - 60) * 1_000)
    expect(await ask('visitWithFirst')).toMatchObject({ verdict: 'expired' })
    expect(await ask('visit')).toMatchObject({ verdict: 'believed' })
    await ask('rest')
    expect(await ask('get')).toMatchObject({ failed: 0, signed: 2 * IDENTITIES })
    expect(errors()).toBe('')
  })

  it('back by 2 hours, and forward again: nobody asks for anything', async () => {
    const { setClock, ask, errors } = await machine(24 * HOUR, library)
    setClock(-2 * 3_600)
    expect(await ask('get')).toMatchObject({ failed: 0, signed: IDENTITIES })
    // By this clock it is of the future: whoever is right about the time, it is not believed.
    expect(await ask('visit')).toMatchObject({ verdict: 'not-yet-valid' })
    await ask('rest')
    setClock(0)
    expect(await ask('get')).toMatchObject({ failed: 0, signed: IDENTITIES })
    expect(await ask('visit')).toMatchObject({ verdict: 'believed' })
    expect(errors()).toBe('')
  })

  it('by a second back, again and again: nothing happens', async () => {
    const { setClock, ask, errors } = await machine(HOUR, library)
    for (let second = 1; second <= 20; second += 1) {
      setClock(-second)
      expect(await ask('get')).toMatchObject({ failed: 0, signed: IDENTITIES })
    }
    expect(await ask('visit')).toMatchObject({ verdict: 'believed' })
    await ask('rest')
    expect(await ask('get')).toMatchObject({ failed: 0, signed: IDENTITIES })
    expect(errors()).toBe('')
  })

  it('to and fro beyond the lifetime: one certificate for each time that it is over', async () => {
    const { setClock, ask, errors } = await machine(HOUR, library)
    for (const [hours, certificates] of [
      [2, 2],
      [0, 2],
      [2, 2],
      [4, 3],
      [1, 3],
      [4, 3],
    ] as const) {
      setClock(hours * 3_600)
      expect(await ask('get')).toMatchObject({ failed: 0, signed: certificates * IDENTITIES })
    }
    expect(errors()).toBe('')
  })
})

describe('a process that is stopped', { timeout: 60_000 }, () => {
  it('for longer than its certificates live: everybody has one new certificate afterwards', async () => {
    const { ask, signal, errors } = await machine(5_000)
    const before = await ask('get')
    signal('SIGSTOP')
    // What passes is the point: certificates of five seconds run out.
    await new Promise(resolve => setTimeout(resolve, 6_000))
    signal('SIGCONT')
    const after = await ask('get')
    expect(after).toMatchObject({ failed: 0 })
    expect(after.now).toBeGreaterThan(before.now + 5_500)
    // One for each, which its timer and whoever asked share.
    expect(after.signed).toBe(before.signed + IDENTITIES)
    expect(await ask('visitWithFirst')).toMatchObject({ verdict: 'expired' })
    expect(await ask('visit')).toMatchObject({ verdict: 'believed' })
    expect(errors()).toBe('')
  })
})
