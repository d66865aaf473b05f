/**
 * The truth of bytes against an independent peer: TCP application ⇄ our proxy ⇄ tunnel ⇄ the peer's program, which runs a
 * script and prints what it saw. Every peer runs the rows that it can express; its test file says which those are.
 *
 * A program is started as `… client|server PORT CERT KEY SCRIPT` and carries one stream. Words of a script: `send:N`, `end`,
 * `read` (to the end or the reset), `wait` (for a byte), `reset:CODE`, `close` (the TCP connection). Lines that it prints: `listening PORT`
 * (server), `open`, `got N` (bytes so far), `closed`, `saw end`, `saw reset CODE`, `saw lost`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Channel, type Credentials, pump, type PumpResult } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { describe, expect, it } from 'vitest'
import { db, deferred, harness, later, web } from './hbone-ends.ts'
import { App, MUCH, socketPair, until } from '../contracts/tcp-app.ts'

export type Role = 'client' | 'server'

export interface Peer {
  readonly name: string
  /** Why it cannot be run here. */
  readonly missing: string | undefined
  /** The program and its first arguments; asked for when a row begins. */
  readonly command: () => readonly string[]
  /** Codes that it can reset a stream with, in each role. */
  readonly resets: Readonly<Record<Role, readonly number[]>>
  /** Roles in which it can end its direction and go on reading. */
  readonly halfCloses: readonly Role[]
  /** Roles in which it can close its connection right behind its end. */
  readonly closes: readonly Role[]
  /** How it sends 1,000 bytes and an end, and then asks us to stop sending (RST_STREAM(NO_ERROR), RFC 9113 §8.1). */
  readonly stops: Readonly<Partial<Record<Role, string>>>
}

const MIB = 1 << 20
/** Codes whose rows are run with a reader that is late as well: those that other proxies read as an end, and a failure. */
const READ_LATE: readonly number[] = [0, 2, 8]
const [INTERNAL_ERROR, CONNECT_ERROR] = [2, 10]

interface Program {
  readonly child: ChildProcess
  readonly lines: readonly string[]
  /** Resolves with the first line that begins so. */
  readonly said: (beginning: string) => Promise<string>
}

interface Joined extends Program {
  readonly app: App
  readonly done: Promise<PumpResult>
  readonly counts: { aToB: number; bToA: number }
  readonly abort: AbortController
}

function start(command: readonly string[]): Program {
  const [file = '', ...args] = command
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: string[] = []
  const waiting = new Set<() => void>()
  let isOver = false
  const wake = (): void => {
    for (const check of waiting) check()
  }
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', line => {
      lines.push(line)
      wake()
    })
  child.once('close', () => {
    isOver = true
    wake()
  })
  later(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })
  const said = (beginning: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        const line = lines.find(entry => entry.startsWith(beginning))
        if (line === undefined && !isOver) return
        waiting.delete(check)
        if (line !== undefined) resolve(line)
        else reject(new Error(`the peer ended without '${beginning}':\n${lines.slice(-20).join('\n')}`))
      }
      waiting.add(check)
      check()
    })
  return { child, lines, said }
}

/** PEM files of an identity: certificate chain and key. */
export function pemFiles(credentials: Credentials): readonly [string, string] {
  const folder = mkdtempSync(join(tmpdir(), 'hbone-peer-'))
  later(async () => rmSync(folder, { recursive: true, force: true }))
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  writeFileSync(cert, credentials.certificateChain)
  writeFileSync(key, credentials.privateKey())
  return [cert, key]
}

/** The peer in `role` with its script, our end of the tunnel pumped to an application. */
async function meet(peer: Peer, role: Role, script: string, paused = false): Promise<Joined> {
  const [channel, program] = await (role === 'client' ? accepted(peer, script) : opened(peer, script))
  const [ours, theirs] = await socketPair()
  const app = new App(theirs, paused)
  later(async () => void theirs.destroy())
  const counts = { aToB: 0, bToA: 0 }
  const abort = new AbortController()
  return {
    ...program,
    app,
    counts,
    abort,
    done: pump(channel, socketChannel(ours), { counts, signal: abort.signal }),
  }
}

async function accepted(peer: Peer, script: string): Promise<[Channel, Program]> {
  const { promise, resolve } = deferred<Channel>()
  const { port } = await harness({ onTunnel: request => resolve(request.accept()) })
  const program = start([...peer.command(), 'client', String(port.port), ...pemFiles(web), script])
  return [await Promise.race([promise, program.said('never').then(() => promise)]), program]
}

async function opened(peer: Peer, script: string): Promise<[Channel, Program]> {
  const program = start([...peer.command(), 'server', '0', ...pemFiles(db), script])
  const port = Number((await program.said('listening ')).slice('listening '.length))
  const { pool, request } = await harness({ onTunnel: () => {} })
  const tunnel = await pool.connect(request({ to: { address: '127.0.0.1', port } }))
  return [tunnel.channel, program]
}

/** The rows of one peer, in both roles. */
export function truthOf(peer: Peer): void {
  const why = peer.missing === undefined ? '' : ` (skipped: ${peer.missing})`
  for (const role of ['client', 'server'] as const)
    describe.skipIf(peer.missing !== undefined)(`${peer.name} as ${role}${why}`, () => {
      endRows(peer, role)
      ourResetRows(peer, role)
      theirResetRows(peer, role)
      stopRow(peer, role)
      lossRows(peer, role)
      closeRow(peer, role)
    })
}

function endRows(peer: Peer, role: Role): void {
  it('our end first: 1 MiB each way, both ends are ends', async () => {
    const { app, said, done, lines } = await meet(peer, role, `read send:${MIB} end`)
    app.send(MIB)
    app.end()
    await said('saw end')
    expect(lines).toContain(`got ${MIB}`)
    await app.events.seen('end')
    expect([app.events.received, app.ending]).toEqual([MIB, 'end'])
    expect((await done).ending).toEqual({ kind: 'ended' })
  })

  if (!peer.halfCloses.includes(role)) return
  it('its end first: 1 MiB each way, both ends are ends', async () => {
    const { app, said, done, lines } = await meet(peer, role, `send:${MIB} end read`)
    await app.events.seen('end')
    expect(app.events.received).toBe(MIB)
    app.send(MIB)
    app.end()
    await said('saw end')
    expect(lines).toContain(`got ${MIB}`)
    expect((await done).ending).toEqual({ kind: 'ended' })
  })
}

function ourResetRows(peer: Peer, role: Role): void {
  it('our application resets: it sees CONNECT_ERROR after the bytes, no end', async () => {
    const { app, said, lines } = await meet(peer, role, 'read')
    app.send(1_000)
    await said('got 1000')
    app.reset()
    expect(await said('saw')).toBe(`saw reset ${CONNECT_ERROR}`)
    expect(lines).not.toContain('saw end')
  })

  it('our proxy cuts: it sees INTERNAL_ERROR, no end', async () => {
    const { app, said, abort } = await meet(peer, role, 'read')
    app.send(1_000)
    await said('got 1000')
    abort.abort(new Error('the policy changed'))
    expect(await said('saw')).toBe(`saw reset ${INTERNAL_ERROR}`)
    await app.events.seen('reset')
    expect(app.ending).toBe('reset')
  })

  it('our application closes over bytes that it has not read: it sees CONNECT_ERROR', async () => {
    const { app, said, counts } = await meet(peer, role, `send:${MUCH} read`, true)
    await until(() => counts.aToB > 100_000)
    app.close()
    expect(await said('saw')).toBe(`saw reset ${CONNECT_ERROR}`)
  })

  if (!peer.halfCloses.includes(role)) return
  it('our application resets after its end: it sees CONNECT_ERROR', async () => {
    const { app, said } = await meet(peer, role, 'send:1000 end read')
    await app.events.seen('end')
    app.reset()
    expect(await said('saw')).toBe(`saw reset ${CONNECT_ERROR}`)
  })
}

function theirResetRows(peer: Peer, role: Role): void {
  for (const code of peer.resets[role])
    for (const paused of READ_LATE.includes(code) ? [false, true] : [false])
      it(`it resets with ${code} after 1,000 bytes: a TCP reset after them${paused ? ', read late' : ''}`, async () => {
        const { app, done, counts } = await meet(peer, role, `send:1000 wait reset:${code} read`, paused)
        await until(() => counts.aToB === 1_000)
        app.send(1)
        if (paused) {
          await done
          app.resume()
        }
        await app.events.seen('reset')
        expect([app.ending, app.events.received]).toEqual(['reset', 1_000])
        expect((await done).ending).toMatchObject({ kind: 'reset', side: 'a' })
      })
}

function stopRow(peer: Peer, role: Role): void {
  const script = peer.stops[role]
  if (script === undefined) return
  it('it ends and wants no more: all bytes and the end arrive, who sends on hears a reset', async () => {
    const { app, done } = await meet(peer, role, script)
    await app.events.seen('end')
    expect([app.events.received, app.ending]).toEqual([1_000, 'end'])
    app.send(5)
    expect((await done).ending).toMatchObject({ kind: 'reset', side: 'a' })
    // Having read to the end, Node hears of the reset when it writes again.
    app.send(5)
    await app.events.seen('reset')
  })
}

function lossRows(peer: Peer, role: Role): void {
  for (const paused of [false, true])
    it(`it is killed while it sends${paused ? ' to a reader that is paused' : ''}: what came, then a reset`, async () => {
      const { app, child, counts } = await meet(peer, role, `send:${MUCH * 20} read`, paused)
      await until(() => counts.aToB > MIB)
      child.kill('SIGKILL')
      await once(child, 'exit')
      if (paused) app.resume()
      await app.events.seen('reset')
      expect(app.ending).toBe('reset')
      expect(app.events.received).toBeLessThan(MUCH * 20)
    })
}

function closeRow(peer: Peer, role: Role): void {
  if (!peer.closes.includes(role)) return
  it('it ends and closes its connection: all bytes and the end arrive', async () => {
    const { app, said } = await meet(peer, role, 'send:50000 end close', true)
    await said('closed')
    app.resume()
    await app.events.seen('end')
    expect([app.events.received, app.ending]).toEqual([50_000, 'end'])
  })
}
