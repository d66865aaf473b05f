import { readFileSync } from 'node:fs'
import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '@ambient/core'
import { execute } from '../src/process/exec.ts'
import { eachLine } from '../src/process/lines.ts'
import { createReaper, type Reaper } from '../src/process/reaper.ts'
import { spawnGroup } from '../src/process/spawn-group.ts'
import { type Program, type ProgramExit, superviseProgram } from '../src/process/supervise.ts'

const env = { PATH: '/usr/bin:/bin' }
const cwd = tmpdir()
const programs: Program[] = []
const reapers: Reaper[] = []

afterEach(async () => {
  for (const program of programs.splice(0)) await program.stop(500)
  for (const reaper of reapers.splice(0)) await reaper.close()
})

async function newReaper(): Promise<{ reaper: Reaper; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
  const reaper = createReaper(folder)
  reapers.push(reaper)
  return { reaper, folder }
}

/** Supervises `sh -c script`, and collects what it tells. */
async function supervise(
  script: string,
  restart: 'Always' | 'OnFailure' | 'Never' = 'Always',
): Promise<{ program: Program; lines: string[]; exits: ProgramExit[]; pids: number[] }> {
  const [lines, exits, pids]: [string[], ProgramExit[], number[]] = [[], [], []]
  const { reaper } = await newReaper()
  const program = superviseProgram({
    argv: ['/bin/sh', '-c', script],
    cwd,
    env,
    restart,
    clock: systemClock,
    reaper,
    events: {
      started: pid => pids.push(pid),
      line: (stream, line) => lines.push(`${stream}: ${line}`),
      exited: exit => exits.push(exit),
    },
  })
  programs.push(program)
  program.start()
  return { program, lines, exits, pids }
}

/** A zombie has ended; that nobody has asked for its status is not our concern. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    const stat = process.platform === 'linux' ? readFileSync(`/proc/${pid}/stat`, 'utf8') : ''
    return !/\) Z /.test(stat)
  } catch {
    return false
  }
}

describe('a supervised program', () => {
  test('its output comes by lines', async () => {
    const { lines } = await supervise('echo one; echo two >&2; printf three; exec sleep 60', 'Never')
    await expect.poll(() => lines).toContain('stderr: two')
    expect(lines).toContain('stdout: one')
  })

  test('is started again, each time later, and says so', async () => {
    const { exits, pids } = await supervise('exit 3')
    await expect.poll(() => exits.length, { timeout: 5_000 }).toBe(3)
    expect(exits.map(exit => exit.restartInMs)).toEqual([250, 500, 1000])
    expect(exits[0]).toMatchObject({ code: 3, signal: null })
    expect(new Set(pids).size).toBe(3)
  })

  test('is not started again when its policy says so', async () => {
    const never = await supervise('exit 3', 'Never')
    const onFailure = await supervise('exit 0', 'OnFailure')
    await expect.poll(() => never.program.completed && onFailure.program.completed).toBe(true)
    expect(never.exits[0]?.restartInMs).toBeUndefined()
  })

  test('one that cannot be started is a failure with a reason, not an exception', async () => {
    const { reaper } = await newReaper()
    const exits: ProgramExit[] = []
    const program = superviseProgram({
      argv: ['/no/such/program'],
      cwd,
      env,
      restart: 'Always',
      clock: systemClock,
      reaper,
      events: { started() {}, line() {}, exited: exit => exits.push(exit) },
    })
    programs.push(program)
    program.start()
    await expect.poll(() => exits[0]?.failure).toContain('cannot start /no/such/program')
    expect(exits[0]?.restartInMs).toBe(250)
  })

  test('stop ends it and what it has started, also when it does not listen', async () => {
    const { program, lines } = await supervise(
      'trap "" TERM; sleep 61 & echo child $!; echo self $$; wait; sleep 62',
    )
    await expect.poll(() => lines.length).toBe(2)
    const pids = lines.map(line => Number(line.split(' ').at(-1)))
    await program.stop(200)
    await expect.poll(() => pids.filter(isAlive)).toEqual([])
    expect(program.pid).toBeUndefined()
  })
})

describe('the reaper', () => {
  test('kills every group and removes the folder when its input closes', async () => {
    const { reaper, folder } = await newReaper()
    const child = await spawnGroup({ argv: ['/bin/sh', '-c', 'sleep 63 & wait'], cwd, env, stdin: 'ignore' })
    const spared = await spawnGroup({ argv: ['/bin/sleep', '64'], cwd, env, stdin: 'ignore' })
    if (child.pid === undefined || spared.pid === undefined) throw new Error('no pid')
    reaper.add(spared.pid)
    reaper.add(child.pid)
    reaper.remove(spared.pid)
    const gone = once(child, 'exit')
    await reaper.close()
    await gone
    expect(isAlive(spared.pid)).toBe(true)
    spared.kill('SIGKILL')
    await once(spared, 'exit')
    await expect(readdir(folder)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe('exec', () => {
  test('collects output, passes input, reports the end', async () => {
    const { reaper } = await newReaper()
    const execution = await execute(
      { argv: ['/bin/sh', '-c', 'cat; echo err >&2; exit 7'], cwd, env, reaper },
      { stdin: 'hello' },
    )
    expect(await execution.result()).toEqual({ code: 7, signal: null, stdout: 'hello', stderr: 'err\n' })
  })

  test('a signal kills it', async () => {
    const { reaper } = await newReaper()
    const controller = new AbortController()
    const execution = await execute(
      { argv: ['/bin/sleep', '65'], cwd, env, reaper },
      { signal: controller.signal },
    )
    controller.abort()
    expect((await execution.exited).signal).toBe('SIGKILL')
  })
})

describe('lines', () => {
  test('splits across chunks and characters, and bounds what has no end', async () => {
    const stream = new PassThrough()
    const lines: string[] = []
    eachLine(stream, line => lines.push(line))
    const euro = Buffer.from('a€b\r\nc')
    stream.write(euro.subarray(0, 2))
    stream.write(euro.subarray(2))
    stream.end(`${'x'.repeat(20_000)}`)
    await once(stream, 'end')
    expect(lines[0]).toBe('a€b')
    expect(lines.slice(1).map(line => line.length)).toEqual([16_384, 3_617])
  })
})
