/** Programs that are replaced: their sockets are held here, so that the next process takes over without a gap. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '@ambient/core'
import { bindHandle } from '../src/process/bound-handle.ts'
import { createHeldSockets, type HeldSockets } from '../src/process/held-sockets.ts'
import { createReaper, type Reaper } from '../src/process/reaper.ts'
import { type Program, type ProgramExit, superviseProgram } from '../src/process/supervise.ts'

/** Serves its own pid on a lent socket until it is asked to drain. */
const SERVER = `
const port = Number(process.argv[1])
const server = require('net').createServer(socket => socket.end(String(process.pid)))
process.on('message', (message, handle) => {
  if (message.ambient === 'drain') { server.close(() => process.exit(0)); return }
  if (message.error) { console.log('refused ' + message.error.code); return }
  server.listen(handle, () => process.send({ ambient: 'ready' }))
})
process.on('SIGTERM', () => process.exit(0))
process.send({ ambient: 'listen', id: 1, host: '127.0.0.1', port })
`

let folder: string
let reaper: Reaper
let sockets: HeldSockets
const programs: Program[] = []

beforeEach(async () => {
  folder = await mkdtemp(`${tmpdir()}/ambient-test-`)
  reaper = createReaper(folder)
  sockets = createHeldSockets()
})

afterEach(async () => {
  for (const program of programs.splice(0)) await program.stop(500)
  expect(sockets.size).toBe(0)
  await reaper.close()
  await rm(folder, { recursive: true, force: true })
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

interface Supervised {
  readonly program: Program
  readonly port: number
  readonly exits: ProgramExit[]
  readonly lines: string[]
  readonly readiness: boolean[]
}

async function supervise(script: string, options: { port?: number } = {}): Promise<Supervised> {
  const port = options.port ?? (await freePort())
  const [exits, lines, readiness]: [ProgramExit[], string[], boolean[]] = [[], [], []]
  const program = superviseProgram({
    argv: [process.execPath, '-e', script, `${port}`],
    cwd: folder,
    env: {},
    restart: 'Always',
    clock: systemClock,
    reaper,
    sockets,
    events: {
      started: () => {},
      line: (_stream, line) => lines.push(line),
      exited: exit => exits.push(exit),
      readiness: ready => readiness.push(ready),
    },
  })
  programs.push(program)
  program.start()
  return { program, port, exits, lines, readiness }
}

/** The pid that answers, or the error's code. */
function ask(port: number): Promise<string> {
  return new Promise(resolve => {
    let heard = ''
    connect(port, '127.0.0.1')
      .on('data', chunk => {
        heard += String(chunk)
      })
      .on('close', () => resolve(heard))
      .on('error', error => resolve('code' in error ? String(error.code) : error.message))
  })
}

describe('a program that is replaced', () => {
  test('hands over: nobody is refused, the new process answers, the old one ends as asked', async () => {
    const { program, port, exits, readiness } = await supervise(SERVER)
    await expect.poll(() => program.ready).toBe(true)
    const before = program.pid
    expect(await ask(port)).toBe(`${before}`)
    let asking = true
    const answers: string[] = []
    const load = (async () => {
      while (asking) answers.push(await ask(port))
    })()
    await program.replace({ graceMs: 1_000 })
    const after = program.pid
    expect(after).not.toBe(before)
    await expect.poll(() => exits.length).toBe(1)
    asking = false
    await load
    expect(exits).toEqual([{ code: 0, signal: null, asked: true }])
    expect(new Set(answers)).toEqual(new Set([`${before}`, `${after}`]))
    expect(program).toMatchObject({ restarts: 0, ready: true })
    expect(readiness).toEqual([true, true])
  })

  test('a successor that dies leaves everything as it was', async () => {
    const { program, port } = await supervise(
      `if (require('fs').existsSync('second')) process.exit(7); require('fs').writeFileSync('second', ''); ${SERVER}`,
    )
    await expect.poll(() => program.ready).toBe(true)
    const before = program.pid
    await expect(program.replace({ graceMs: 1_000 })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_NOT_READY',
      message: 'the new process ended (exit code 7); the old one goes on',
    })
    expect(await ask(port)).toBe(`${before}`)
    expect(program.restarts).toBe(0)
  })

  test('one that is stopped in the middle leaves nothing', async () => {
    const { program, exits } = await supervise(
      `if (require('fs').existsSync('second')) setInterval(() => {}, 1000); else { require('fs').writeFileSync('second', ''); ${SERVER} }`,
    )
    await expect.poll(() => program.ready).toBe(true)
    const replaced = program.replace({ graceMs: 1_000 })
    const outcome = expect(replaced).rejects.toMatchObject({ code: 'AMBIENT_E_MESH_CLOSED' })
    await program.stop(500)
    await outcome
    expect(exits.length).toBeGreaterThanOrEqual(1)
  })

  test('a process that dies takes its sockets along: callers are refused until it is back', async () => {
    const { program, port, exits } = await supervise(SERVER)
    await expect.poll(() => program.ready).toBe(true)
    program.kill('SIGKILL')
    await expect.poll(() => exits.length).toBe(1)
    expect(exits[0]).toMatchObject({ signal: 'SIGKILL', asked: false, restartInMs: 250 })
    expect(await ask(port)).toBe('ECONNREFUSED')
    await expect.poll(() => program.ready, { timeout: 5_000 }).toBe(true)
    expect(await ask(port)).toBe(`${program.pid}`)
  })

  test('is told why it gets no socket', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const { lines } = await supervise(SERVER, { port })
    await expect.poll(() => lines).toEqual(['refused EADDRINUSE'])
    other.close()
  })
})

describe('a bound handle', () => {
  test('refuses until somebody listens, and says why it could not be bound', async () => {
    const port = await freePort()
    const bound = bindHandle('127.0.0.1', port)
    expect(await ask(port)).toBe('ECONNREFUSED')
    bound?.close()
    expect(() => bindHandle('203.0.113.7', port)).toThrowError(/EADDRNOTAVAIL/)
  })
})
