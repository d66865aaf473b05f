import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'

const demo = fileURLToPath(new URL('../../examples/01-bookinfo/demo.mjs', import.meta.url))
const children: ChildProcess[] = []
const LONG_MS = 180_000

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
})

interface Check {
  readonly step: number
  readonly name: string
  readonly expected: string
  readonly observed: string
  readonly ok: boolean
}

/** Runs the demo with `--json`. */
async function tell(...args: string[]): Promise<{ code: unknown; checks: Check[]; last: unknown }> {
  const child = spawn(process.execPath, [demo, '--json', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  let text = ''
  let trouble = ''
  child.stdout?.on('data', chunk => {
    text += String(chunk)
  })
  child.stderr?.on('data', chunk => {
    trouble += String(chunk)
  })
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(), LONG_MS - 5_000) // a demo that hangs says where
  const [code] = await once(child, 'close', { signal: deadline.signal })
    .catch(() => {
      throw new Error(
        `the demo hangs after:\n${text.split('\n').slice(-4).join('\n')}\n${trouble.slice(-2_000)}`,
      )
    })
    .finally(() => clearTimeout(timer))
  const lines: unknown[] = text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  const last = lines.pop()
  return { code, checks: lines as Check[], last }
}

/** Processes that a process has started and that live. */
function childrenOf(parent: number | undefined): string[] {
  return readdirSync('/proc')
    .filter(name => /^[0-9]+$/.test(name))
    .filter(pid => {
      const [state, ppid] = statOf(pid)
      return ppid === String(parent) && state !== 'Z'
    })
}

/** State and parent, after the name in parentheses. */
function statOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
  } catch {
    return ['Z']
  }
}

describe('the demo', () => {
  test('tells the whole story, and every check holds', { timeout: LONG_MS }, async () => {
    const { code, checks, last } = await tell()
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
    expect(checks.length).toBeGreaterThanOrEqual(35)
    expect(last).toEqual({ passed: checks.length, failed: 0 })
    expect(code).toBe(0)
  })

  test.each([
    ['3', 'peer-authentication.yaml', /^STRICT: the same call is refused/],
    ['3', 'policy-ratings.yaml', /^stranger may not call ratings/],
    ['3', 'db.yaml', /^stranger and loadgen both hold a connection/],
    ['7', 'reviews-routes.yaml', /^jason sees v2, always/],
    ['8', 'policy-httpbin.yaml', /^DELETE is denied/],
    ['8', 'waypoint.yaml', /^DELETE is denied/],
  ])(
    'step %s without %s: the checks that rest on it fail, and so does the demo',
    { timeout: LONG_MS },
    async (step, file, name) => {
      const { code, checks, last } = await tell('--step', step, '--without', file)
      expect(checks.find(check => name.test(check.name))?.ok).toBe(false)
      expect(checks.some(({ ok }) => ok)).toBe(true)
      const failed = checks.filter(({ ok }) => !ok).length
      expect(last).toEqual({ passed: checks.length - failed, failed })
      expect(code).toBe(1)
    },
  )

  test.runIf(process.platform === 'linux')('Ctrl-C ends every process', { timeout: LONG_MS }, async () => {
    const TMPDIR = mkdtempSync(join(tmpdir(), 'ambient-test-'))
    const child = spawn(process.execPath, [demo], {
      env: { ...process.env, TMPDIR },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.push(child)
    let [out, err] = ['', '']
    child.stdout.on('data', chunk => {
      out += String(chunk)
    })
    child.stderr.on('data', chunk => {
      err += String(chunk)
    })
    await expect.poll(() => out, { timeout: 20_000 }).toContain('  ok')
    const started = childrenOf(child.pid)
    expect(started.length).toBeGreaterThan(12)
    expect(readdirSync(TMPDIR).length).toBeGreaterThanOrEqual(2)
    const ended = once(child, 'close')
    child.kill('SIGINT')
    expect((await ended)[0]).toBe(130)
    expect(err).toMatch(/stopped: 0 of \d+ processes are left\n$/)
    expect(started.filter(pid => statOf(pid)[0] !== 'Z')).toEqual([])
    expect(readdirSync(TMPDIR)).toEqual([])
    rmdirSync(TMPDIR)
  })

  test('an option that it does not know is one line and exit code 2', async () => {
    const child = spawn(process.execPath, [demo, '--frobnicate'], { stdio: ['ignore', 'ignore', 'pipe'] })
    let err = ''
    child.stderr.on('data', chunk => {
      err += String(chunk)
    })
    expect((await once(child, 'close'))[0]).toBe(2)
    expect(err).toBe('demo: unknown option --frobnicate; --help lists them\n')
  })
})
