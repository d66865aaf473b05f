/** `ambient cert drill`: no rotation loses a request, and who is warned of expiry in time. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createManualClock } from '@ambient/core/testing'
import { listen } from '@ambient/core/node'
import { createHbonePool } from '@ambient/hbone'
import { createCertificateAuthority } from '@ambient/identity'
import { createTestIdentities } from '@ambient/identity/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { forecast } from '../src/cert/drill-forecast.ts'
import { startLoad } from '../src/cert/drill-load.ts'
import { run } from './host.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const WEB = 'spiffe://cluster.local/ns/shop/sa/web'
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ambient-drill-test-'))
  const ca = join(folder, 'ca')
  expect((await run('ca', 'init', '--dir', ca, '--trust-domain', 'cluster.local')).code).toBe(0)
  const issue = ['cert', 'issue', '--dir', ca, '--id', WEB, '--out', join(folder, 'web')]
  expect((await run(...issue)).code).toBe(0)
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('the drill', () => {
  it('rotates everything under load, breaks the CA, and fails no request', async () => {
    const drills = (): string[] => readdirSync(tmpdir()).filter(name => /^ambient-drill-(?!test)/.test(name))
    const before = drills()
    const { code, out, err } = await run('cert', 'drill', '--step-time', '100ms', '-o', 'json')
    expect({ code, problems: problemsOf(out) }).toEqual({ code: 0, problems: [] })
    const { steps, failed, brokenCa, ok } = JSON.parse(out)
    expect({ failed, ok }).toEqual({ failed: 0, ok: true })
    const names = [
      'calm',
      'leaf',
      'intermediate',
      'root-add',
      'root-sign',
      'root-cut',
      'ca-broken',
      'ca-back',
    ]
    expect(steps.map(({ step }: { step: string }) => step)).toEqual(names)
    expect(steps.map(({ roots }: { roots: number }) => roots)).toEqual([1, 1, 1, 2, 2, 1, 1, 1])
    for (const { step, requests, connections } of steps) {
      expect(requests).toBeGreaterThanOrEqual(25)
      // Each generation has connections of its own, and a broken CA gives none.
      if (step !== 'calm')
        expect({ step, isNew: connections > 0 }).toEqual({ step, isNew: step !== 'ca-broken' })
    }
    expect(Date.parse(brokenCa.notAfter) - Date.parse(brokenCa.warnFrom)).toBeGreaterThan(9 * HOUR)
    expect(err).toContain('drill: the CA answers nobody; renewal fails\n')
    expect(drills()).toEqual(before)
  }, 30_000)
})

describe('the load of the drill', () => {
  it('counts each request that fails, with the first reason', async () => {
    const identities = await createTestIdentities()
    const [web, db] = await Promise.all([identities.credentials(WEB), identities.credentials(WEB)])
    const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => socket.destroy() })
    const pool = createHbonePool()
    const load = startLoad({ pool, to: listener, expect: db.id, clients: 2, credentials: async () => web })
    await load.after(6)
    const { requests, failed, problem } = load.take()
    expect(requests).toBeGreaterThanOrEqual(6)
    expect({ failed, problem }).toEqual({ failed: requests, problem: expect.any(String) })
    await load.stop()
    await pool.close({ graceMs: 0 })
    await listener.close()
  }, 20_000)
})

describe('the forecast', () => {
  it('lists a folder, soonest first, and needs nothing of what is fresh', async () => {
    const asked = [
      'cert',
      'drill',
      '--forecast-only',
      '--dir',
      join(folder, 'ca'),
      '--dir',
      join(folder, 'web'),
    ]
    const { code, out } = await run(...asked, '-o', 'json')
    expect(code).toBe(0)
    const rows: { who: string; isCa: boolean; state: string }[] = JSON.parse(out).forecast
    expect(rows[0]).toMatchObject({ who: WEB, isCa: false, state: 'ok' })
    expect(rows.slice(1).every(({ isCa, state }) => isCa && state === 'ok')).toBe(true)
    expect(rows.length).toBeGreaterThanOrEqual(4)
    expect((await run(...asked)).out).toContain('no certificate needs attention\n')
  })

  it('warns with exit code 1 of what is nearer to its end than --warn', async () => {
    const clock = createManualClock(Date.now() - 360 * DAY)
    const { rootPem } = await createCertificateAuthority({
      trustDomain: 'cluster.local',
      rootTtlMs: 365 * DAY,
      clock,
    })
    const roots = join(folder, 'old-roots.pem')
    writeFileSync(roots, rootPem)
    const asked = ['cert', 'drill', '--forecast-only', '--file', roots]
    const warned = await run(...asked)
    expect(warned.code).toBe(1)
    expect(warned.out).toMatch(/^WARNING .*\n1 certificate needs attention\n$/ms)
    expect((await run(...asked, '--warn', '4d')).code).toBe(0)
  })

  it('warns of a year a week before, of a day when renewal is overdue, and of what is over', () => {
    const at = (lifetimeMs: number, ageMs: number): string | undefined =>
      forecast([{ where: '', who: '', isCa: false, notBefore: 0, notAfter: lifetimeMs }], 7 * DAY, ageMs)[0]
        ?.state
    expect([at(365 * DAY, 357 * DAY), at(365 * DAY, 359 * DAY)]).toEqual(['ok', 'warning'])
    expect([at(DAY, 14 * HOUR), at(DAY, 15 * HOUR), at(DAY, 25 * HOUR)]).toEqual(['ok', 'warning', 'expired'])
  })

  it('says what it cannot read, and what it was not told', async () => {
    const empty = join(folder, 'empty')
    mkdirSync(empty, { recursive: true })
    for (const [args, code, message] of [
      [['--dir', empty], 1, 'holds no certificate'],
      [['--file', join(folder, 'nothing')], 1, 'no such file'],
      [['--warn', 'soon', '--dir', folder], 1, '--warn: expected a duration'],
      [['--clients', '0', '--dir', folder], 1, '--clients: expected a whole number'],
      [[], 2, '--file, --dir or --mesh'],
    ] as const) {
      const { err, ...result } = await run('cert', 'drill', '--forecast-only', ...args)
      expect(result).toEqual({ code, out: '' })
      expect(err).toContain(message)
    }
  })
})

function problemsOf(out: string): string[] {
  const { steps } = JSON.parse(out) as { steps: { step: string; problem?: string }[] }
  return steps.flatMap(({ step, problem }) => (problem === undefined ? [] : [`${step}: ${problem}`]))
}
