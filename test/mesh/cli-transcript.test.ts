/** docs/cli.md is true: its commands are run in its order, beside the mesh that it starts. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../repo/workspace.ts'
import { masked, readTranscript } from './transcript.ts'

const steps = readTranscript(join(root, 'docs/cli.md'))
const IS_UP = { timeout: 20_000 }
/** The certificates of the tunnels by hand are made by it. */
const hasOpenssl = spawnSync('openssl', ['version']).status === 0
let folder: string
let environment: NodeJS.ProcessEnv
let staying: { readonly child: ChildProcess; readonly output: () => string } | undefined

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
  const bin = join(folder, 'bin')
  await mkdir(bin)
  await writeFile(
    join(bin, 'ambient'),
    `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'packages/cli/dist/bin.js')}' "$@"\n`,
  )
  await chmod(join(bin, 'ambient'), 0o755)
  // A folder for temporary files of its own: the mesh of the transcript is the only one that runs there.
  environment = {
    ...process.env,
    TMPDIR: folder,
    PATH: `${bin}:${dirname(process.execPath)}:${process.env['PATH']}`,
  }
  for (const step of steps) if (step.kind === 'file' && !step.later) await writeFor(step)
})

afterAll(async () => {
  if (staying?.child.exitCode === null) staying.child.kill('SIGTERM')
  for (const pid of await pidsLeft()) process.kill(pid)
  await rm(folder, { recursive: true, force: true })
})

/** Of programs that the transcript put into the background, and did not come to end. */
async function pidsLeft(): Promise<number[]> {
  const files = await readdir(folder, { recursive: true })
  const texts = files.filter(name => name.endsWith('.pid')).map(name => readFile(join(folder, name), 'utf8'))
  const pids = (await Promise.all(texts)).map(Number)
  return pids.filter(pid => pid > 0 && isAlive(pid))
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

describe('docs/cli.md', () => {
  test('tells of every command', () => {
    const told = steps.flatMap(step => (step.kind === 'command' ? [step.command] : [])).join('\n')
    for (const command of ['up', 'status', 'get pods', 'run', 'connect', 'label', 'version', '--version'])
      expect(told).toContain(`ambient ${command}`)
    for (const command of ['serve', 'forward', 'connect']) expect(told).toContain(`ambient hbone ${command}`)
    for (const command of ['show', 'verify', 'id', 'issue', 'watch', 'bundle', 'drill'])
      expect(told).toContain(`ambient cert ${command}`)
    for (const command of ['init', 'serve', 'rotate-root', 'revoke'])
      expect(told).toContain(`ambient ca ${command}`)
    for (const command of ['explain']) expect(told).toContain(`ambient policy ${command}`)
    for (const command of ['generate', 'apply', 'list', 'status', 'delete'])
      expect(told).toContain(`ambient waypoint ${command}`)
  })

  for (const step of steps) {
    if (step.kind === 'file') {
      if (step.later) test(`${step.path} is written`, () => writeLater(step))
      continue
    }
    const isSkipped = !hasOpenssl && /hbone\/|127\.45\./.test(step.command)
    const name = `line ${step.line}: ${step.command}${isSkipped ? ' (skipped: there is no openssl)' : ''}`
    test.skipIf(isSkipped)(name, async () => {
      const output = await outputOf(step)
      expect(masked(output)).toBe(masked(step.output))
    })
  }
})

async function writeFor({ path, text }: { readonly path: string; readonly text: string }): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true })
  await writeFile(join(folder, path), text)
}

/** A file that the mesh is to have noticed before the next command. */
async function writeLater(step: { readonly path: string; readonly text: string }): Promise<void> {
  const before = await run('ambient status -o json 2>/dev/null')
  const { generation, problems } = JSON.parse(before)
  await writeFor(step)
  const changed = async (): Promise<boolean> => {
    const now = JSON.parse(await run('ambient status -o json 2>/dev/null'))
    return now.generation > generation || now.problems.length !== problems.length
  }
  await expect.poll(changed, IS_UP).toBe(true)
}

async function run(command: string): Promise<string> {
  const { child, output } = start(command)
  await once(child, 'close')
  return output()
}

function start(command: string): { readonly child: ChildProcess; readonly output: () => string } {
  const child = spawn('sh', ['-c', command], {
    cwd: folder,
    env: environment,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  let output = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  return { child, output: () => output }
}

async function outputOf(step: Exclude<(typeof steps)[number], { kind: 'file' }>): Promise<string> {
  if (step.kind === 'interrupt') return interrupt()
  if (!step.stays) return run(`exec 2>&1; ${step.command}`)
  staying = start(`exec 2>&1; exec ${step.command}`)
  await expect.poll(staying.output, IS_UP).toContain('Ctrl-C ends it.')
  return staying.output()
}

/** What the command that stayed prints from now on, to its end. */
async function interrupt(): Promise<string> {
  if (staying === undefined) throw new Error('nothing is running')
  const { child, output } = staying
  const ended = once(child, 'close')
  child.kill('SIGINT')
  await ended
  // What it told meanwhile of the edits is in the transcript of those.
  return output().slice(output().indexOf('stopping every process'))
}
