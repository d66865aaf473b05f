/** Programs of this machine join a running mesh, as any user. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { deployment, namespace, service } from './shop.ts'

const bin = fileURLToPath(new URL('../../packages/cli/dist/bin.js', import.meta.url))
/** Somebody without privileges; only root can become somebody else, who must be able to read these files. */
const SOMEBODY = { uid: 1000, gid: 1000 }
const USER: Partial<typeof SOMEBODY> = canRun(SOMEBODY) ? SOMEBODY : {}
const IS_UP = { timeout: 20_000 }
const SERVER = `
import net from 'node:net'
net.createServer(socket => socket.on('error', () => {}).end('hello')).listen(7000)
`
vi.setConfig({ testTimeout: 40_000 })
let folder: string
let mesh: Running

interface Running {
  readonly child: ChildProcess
  readonly out: () => string
  readonly err: () => string
  readonly ended: Promise<unknown[]>
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
  const manifests = join(folder, 'shop')
  await mkdir(manifests)
  await writeFile(join(manifests, 'namespace.yaml'), namespace(true))
  await writeFile(join(manifests, 'server.mjs'), SERVER)
  await writeFile(
    join(manifests, 'server.yaml'),
    `${deployment('server', { program: 'server.mjs' })}---\n${service}`,
  )
  const { uid, gid } = USER
  if (uid !== undefined && gid !== undefined)
    for (const path of [folder, manifests]) await chown(path, uid, gid)
  mesh = ambient('up', 'shop', '--node', 'only', '--logs', 'all')
  await vi.waitFor(() => expect(mesh.err()).toContain('Ctrl-C ends it.'), IS_UP)
}, 30_000)

afterAll(async () => {
  mesh.child.kill('SIGTERM')
  await mesh.ended
  await rm(folder, { recursive: true, force: true })
})

function canRun(user: typeof SOMEBODY): boolean {
  if (process.getuid?.() !== 0) return false
  const { status } = spawnSync(
    process.execPath,
    ['-e', `require('fs').accessSync(${JSON.stringify(bin)})`],
    user,
  )
  return status === 0
}

/** The command, as that user, with a folder for temporary files of its own. */
function ambient(...args: string[]): Running {
  const child = spawn(process.execPath, [bin, ...args], {
    ...USER,
    cwd: folder,
    env: { PATH: process.env['PATH'], TMPDIR: folder, HOME: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  return { child, out: () => out, err: () => err, ended: once(child, 'close') }
}

const ASK = `require('node:net').connect(7000, 'server').pipe(process.stdout)`
const WAIT = `console.log('ready as ' + process.getuid?.()); process.on('SIGTERM', () => process.exit(42)); setInterval(() => {}, 1000)`

async function podNames(): Promise<readonly string[]> {
  const { out, ended } = ambient('get', 'pods', '-n', 'shop', '-o', 'json')
  await ended
  return JSON.parse(out()).map(({ name }: { readonly name: string }) => name)
}

describe('ambient run', () => {
  test('the peer sees the identity that was asked for', async () => {
    const { out, ended } = ambient('run', '--as', 'shop/visitor', '--', process.execPath, '-e', ASK)
    expect((await ended)[0]).toBe(0)
    expect(out()).toBe('hello')
    const inbound =
      /direction="?inbound"?.*src\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/visitor"|src\.identity="spiffe:\/\/cluster\.local\/ns\/shop\/sa\/visitor".*direction="?inbound/
    await expect.poll(mesh.out, IS_UP).toMatch(inbound)
  })

  test.runIf(USER.uid !== undefined)('neither the mesh nor the program has privileges', async () => {
    const { out, ended } = ambient(
      'run',
      '--as',
      'shop/visitor',
      '--',
      process.execPath,
      '-p',
      'process.getuid()',
    )
    expect((await ended)[0]).toBe(0)
    expect(out()).toBe(`${USER.uid}\n`)
    expect(statSync(`/proc/${mesh.child.pid}`).uid).toBe(USER.uid)
  })

  test('its place lasts as long as the program, which gets our signals', async () => {
    const { child, out, ended } = ambient(
      'run',
      '--as',
      'shop/visitor',
      '--name',
      'guest',
      '--',
      process.execPath,
      '-e',
      WAIT,
    )
    await expect.poll(out, IS_UP).toMatch(/^ready as \d+\n/)
    expect(await podNames()).toContain('guest')
    child.kill('SIGTERM')
    expect((await ended)[0]).toBe(42)
    expect(await podNames()).not.toContain('guest')
  })

  test('killed without a chance to leave, it has left all the same', async () => {
    const { child, out, ended } = ambient(
      'run',
      '--as',
      'shop/visitor',
      '--name',
      'ghost',
      '--',
      process.execPath,
      '-e',
      `${WAIT}; console.log(process.pid)`,
    )
    await expect.poll(out, IS_UP).toMatch(/\n\d+\n$/)
    child.kill('SIGKILL')
    // The program outlives us, as it would outlive its shell.
    process.kill(Number(out().trim().split('\n').at(-1)), 'SIGKILL')
    await ended
    await expect.poll(podNames, IS_UP).not.toContain('ghost')
  })
})
