/** The process of a mesh dies without a chance to clean up: nothing of it is left all the same. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { deployment, namespace, waypoint } from './shop.ts'

/** Says what it made, as one line of JSON, and stays. */
const PROGRAM = `
import { createMesh, findMeshes } from '@ambient/mesh'
const pids = []
const mesh = createMesh({
  manifests: process.argv[1],
  environment: { PATH: process.env.PATH },
  onEvent: event => { if (event.kind === 'started') pids.push(event.pid) },
})
await mesh.start()
const restarted = process.argv[2] === 'restart' ? mesh.waypoint('waypoint').restart() : undefined
await restarted
const { socketPath } = (await findMeshes()).find(({ pid }) => pid === process.pid)
console.log(JSON.stringify({ pids, socketPath }))
process.on('SIGTERM', () => mesh.close().then(() => process.exit(0)))
`

let folder: string
let child: ChildProcess | undefined

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
  await writeFile(join(folder, 'namespace.yaml'), namespace(true, 'waypoint'))
  await writeFile(join(folder, 'app.yaml'), deployment('app'))
  await writeFile(join(folder, 'waypoint.yaml'), waypoint)
})

afterEach(async () => {
  child?.kill('SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

interface Made {
  readonly pids: readonly number[]
  readonly socketPath: string
}

async function run(...args: string[]): Promise<Made> {
  const here = fileURLToPath(new URL('..', import.meta.url))
  const argv = ['--input-type=module', '-e', PROGRAM, '--', folder, ...args]
  const running = spawn(process.execPath, argv, { cwd: here, stdio: ['ignore', 'pipe', 'inherit'] })
  child = running
  let output = ''
  await new Promise<void>((resolve, reject) => {
    running.once('exit', () => reject(new Error('the mesh did not start')))
    running.stdout.on('data', chunk => {
      output += String(chunk)
      if (output.includes('\n')) resolve()
    })
  })
  return JSON.parse(output)
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

describe.each([['SIGKILL'], ['SIGTERM']] as const)('a mesh that ends by %s', signal => {
  test.each([[[]], [['restart']]])('leaves no process, no socket, no file (%j)', async args => {
    const { pids, socketPath } = await run(...args)
    expect(pids.length).toBeGreaterThanOrEqual(4 + args.length)
    expect(existsSync(socketPath)).toBe(true)
    child?.kill(signal)
    await expect.poll(() => pids.filter(isAlive), { timeout: 10_000 }).toEqual([])
    await expect.poll(() => existsSync(socketPath)).toBe(false)
  })
})
