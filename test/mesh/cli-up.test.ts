import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { deployment, namespace } from './shop.ts'

const bin = fileURLToPath(new URL('../../packages/cli/dist/bin.js', import.meta.url))
const children: ChildProcess[] = []
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
  await writeFile(join(folder, 'namespace.yaml'), namespace(true))
  await writeFile(join(folder, 'app.yaml'), deployment('app'))
})

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

/** `ambient up` on the folder. */
function up(...given: (string | NodeJS.ProcessEnv)[]): {
  child: ChildProcess
  out: () => string
  err: () => string
  ended: Promise<unknown[]>
} {
  const args = given.filter(one => typeof one === 'string')
  const env = Object.assign({}, process.env, ...given.filter(one => typeof one !== 'string'))
  const child = spawn(process.execPath, [bin, 'up', folder, '--node', 'only', ...args], {
    stdio: 'pipe',
    env,
  })
  children.push(child)
  let [out, err] = ['', '']
  child.stdout?.on('data', chunk => {
    out += String(chunk)
  })
  child.stderr?.on('data', chunk => {
    err += String(chunk)
  })
  return { child, out: () => out, err: () => err, ended: once(child, 'close') }
}

/** A folder for temporary files in which no mesh is found. */
function unseen(): Promise<string> {
  return mkdtemp(join(folder, '.tmp-'))
}

/** Pids of the table's rows. */
function pidsIn(text: string): number[] {
  return [...text.matchAll(/^\S+ .*?\b(\d{2,7})(?: +http\S+)?$/gm)].map(([, pid]) => Number(pid))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    const stat = process.platform === 'linux' ? readFileSync(`/proc/${pid}/stat`, 'utf8') : ''
    return !/\) Z /.test(stat)
  } catch {
    return false
  }
}

const IS_UP = { timeout: 15_000 }

describe('ambient up', () => {
  test('prints what runs, keeps the last good state, and ends with Ctrl-C', async () => {
    const { child, out, err, ended } = up()
    await expect.poll(err, IS_UP).toContain('Ctrl-C ends it.')
    expect(out()).toMatch(/^WORKLOAD +NODE +ADDRESS +ENROLLED +READY +PID$/m)
    expect(out()).toMatch(/^shop\/app-\S+ +only +127\.\d+\.10\.1 +yes +yes +\d+$/m)
    const pids = pidsIn(out())
    expect(pids).toHaveLength(2)
    expect(pids.filter(isAlive)).toEqual(pids)

    await writeFile(join(folder, 'app.yaml'), deployment('app').replace('replicas: 1', 'replicas: many'))
    await expect.poll(err, IS_UP).toContain('the mesh goes on with the last good configuration')
    expect(err()).toMatch(new RegExp(`^${join(folder, 'app.yaml')}:9:13: error: .*many`, 'm'))
    expect(pids.filter(isAlive)).toEqual(pids)
    await writeFile(join(folder, 'app.yaml'), deployment('app', { replicas: 2 }))
    await expect.poll(err, IS_UP).toMatch(/^configuration 2 is in place: started shop\/app-/m)

    child.kill('SIGINT')
    expect((await ended)[0]).toBe(0)
    expect(err()).toMatch(/stopping every process of the mesh\nstopped: no process and no file is left\n$/)
    expect(pids.filter(isAlive)).toEqual([])
  })

  test('a pod that does not get ready is named, and the mesh can be asked about it meanwhile', async () => {
    const probe = 'readinessProbe: { tcpSocket: { port: 9 } }'
    await writeFile(join(folder, 'app.yaml'), deployment('app').replace(/( +)env:/, `$1${probe}\n$&`))
    const { err, out } = up()
    await expect.poll(err, IS_UP).toMatch(/^waiting for shop\/app-\S+ \(up to 30 s\)$/m)
    expect(out()).toBe('')
    const asked = spawn(process.execPath, [bin, 'get', 'pods', '-n', 'shop', '--mesh', folder])
    children.push(asked)
    expect(await text(asked.stdout)).toMatch(/^app-\S+ +0\/1 +Running/m)
  })

  test('as JSON every line is an event', async () => {
    const { child, out, ended } = up('-o', 'json')
    await expect.poll(out, IS_UP).toContain('"kind":"ready"')
    child.kill('SIGTERM')
    await ended
    const kinds = new Set(
      out()
        .trim()
        .split('\n')
        .map(line => JSON.parse(line).kind),
    )
    expect([...kinds]).toEqual(expect.arrayContaining(['started', 'applied', 'pod-ready', 'ready']))
    const ready = out()
      .split('\n')
      .find(line => line.includes('"kind":"ready"'))
    const { cidr, block } = JSON.parse(ready ?? '{}')
    expect(cidr).toBe(`127.${block}.0.0/16`)
  })

  test('a block that another mesh uses: the port and its holder', async () => {
    const first = up()
    await expect.poll(first.err, IS_UP).toContain('Ctrl-C ends it.')
    const block = /the mesh is up on 127\.(\d+)\./.exec(first.err())?.[1] ?? ''
    const again = up()
    expect((await again.ended)[0]).toBe(1)
    expect(again.err()).toContain(`a mesh of this folder already runs (pid ${first.child.pid})`)
    // Where it is not found, the port tells.
    const second = up('--block', block, { TMPDIR: await unseen() })
    expect((await second.ended)[0]).toBe(1)
    expect(second.err()).toMatch(
      new RegExp(
        `error: port 15012 on 127\\.${block}\\.0\\.254, needed for the control plane, is in use by .*\\(pid ${first.child.pid}\\)`,
      ),
    )
  })

  test.runIf(process.platform === 'linux')(
    'killed without a chance to clean up, it leaves nothing either',
    async () => {
      const { child, out, err, ended } = up()
      await expect.poll(err, IS_UP).toContain('Ctrl-C ends it.')
      const pids = pidsIn(out())
      const cwd = readFileSync(`/proc/${pids.at(-1)}/environ`, 'utf8')
      const secrets = /SOCKS5_SECRETS_DIR=([^\0]+)/.exec(cwd)?.[1] ?? ''
      expect(existsSync(secrets)).toBe(true)
      child.kill('SIGKILL')
      await ended
      await expect.poll(() => pids.filter(isAlive), IS_UP).toEqual([])
      await expect.poll(() => existsSync(secrets)).toBe(false)
    },
  )
})
