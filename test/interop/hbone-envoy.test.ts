/**
 * The truth of bytes with Envoy, as the source of tunnels (TCP proxy with `tunneling_config`) and as their end (CONNECT terminated):
 * the rows of `hbone-rows.ts`, our proxy that cuts, the death of Envoy and its end by SIGTERM under a transfer. Envoy's log has
 * every frame but its own ends. It shows an end where it hears CONNECT_ERROR; where it ends tunnels, the end of its application
 * ends both directions: END_STREAM and RST_STREAM(NO_ERROR) when it owes nothing, else INTERNAL_ERROR alone.
 *
 * Needs Linux and an Envoy binary: ENVOY=path/to/envoy.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { pump, type PumpResult } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createHbonePool, createHboneServer } from '@ambient/hbone'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { db, web } from './hbone-ends.ts'
import { type Envoy, type EnvoyOptions, noEnvoy, startEnvoy } from './hbone-envoy.ts'
import { FrameLog, type LoggedFrame } from './hbone-frames.ts'
import { Ends, endsCommand } from './hbone-line.ts'
import { type Bench, type Line, type PeerTraits, rowsWith } from './hbone-rows.ts'

type Role = EnvoyOptions['role']

interface Carried {
  readonly done: Promise<PumpResult>
  readonly abort: AbortController
}

interface EnvoyLine extends Line {
  readonly carried: Carried
}

interface EnvoyBench extends Bench {
  readonly envoy: Envoy
  readonly open: () => Promise<EnvoyLine>
}

const MUCH = 32 << 20
const CODES = new Map([
  ['0', 'NO_ERROR'],
  ['2', 'INTERNAL_ERROR'],
  ['8', 'CANCEL'],
  ['10', 'CONNECT_ERROR'],
])

const traitsOf = (role: Role): PeerTraits => ({
  name: 'Envoy',
  side: role === 'source' ? 'client' : 'server',
  saysEndForReset: false,
  endsBoth: role === 'destination',
})

let cleanups: (() => Promise<unknown>)[] = []

async function cleanUp(): Promise<void> {
  for (const cleanup of cleanups.reverse()) await cleanup()
  cleanups = []
}

/** `about to recv frame type=0, flags=1, stream_id=3`; a reset of its own is two lines, the second without a stream. */
function frameReader(): (line: string) => LoggedFrame | undefined {
  let resetting = ''
  return line => {
    const [, type, flags, stream] =
      /about to recv frame type=(\d+), flags=(\d+), stream_id=(\d+)/.exec(line) ?? []
    if (stream !== undefined) {
      if (type === '1') return { stream, by: 'ours', what: 'OPEN' }
      return type === '0' && Number(flags) % 2 === 1 ? { stream, by: 'ours', what: 'END' } : undefined
    }
    const [, wasReset, code = ''] = /remote reset: (\d+) (\d+)/.exec(line) ?? []
    if (wasReset !== undefined) return { stream: wasReset, by: 'ours', what: CODES.get(code) ?? code }
    resetting = /sent frame type=3, stream_id=(\d+)/.exec(line)?.[1] ?? resetting
    const [, sent] = /sent reset code=(\d+)/.exec(line) ?? []
    return sent === undefined ? undefined : { stream: resetting, by: 'peer', what: CODES.get(sent) ?? sent }
  }
}

function startEnds(): Ends {
  const [file = '', ...args] = endsCommand
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  cleanups.push(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  return new Ends(child)
}

/** Ours ends tunnels of Envoy, and dials `appPort`; gives its port. */
async function openServer(appPort: number, onCarried: (carried: Carried) => void): Promise<number> {
  const server = createHboneServer({
    credentials: () => db,
    onTunnel: async request => {
      const socket = await dial({ host: '127.0.0.1', port: appPort })
      const abort = new AbortController()
      onCarried({ done: pump(request.accept(), socketChannel(socket), { signal: abort.signal }), abort })
    },
  })
  const port = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: socket => server.accept(socket),
  })
  cleanups.push(() => Promise.all([port.close(), server.close({ graceMs: 0 })]))
  return port.port
}

/** Ours carries local connections through Envoy; gives its port. */
async function openDoor(envoyPort: number, onCarried: (carried: Carried) => void): Promise<number> {
  const pool = createHbonePool()
  const to = { address: '127.0.0.1', port: envoyPort }
  const door = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: async socket => {
      const tunnel = await pool.connect({
        credentials: web,
        expect: [db.id],
        authority: '127.0.0.1:8080',
        to,
      })
      const abort = new AbortController()
      onCarried({ done: pump(socketChannel(socket), tunnel.channel, { signal: abort.signal }), abort })
    },
  })
  cleanups.push(() => Promise.all([door.close(), pool.close({ graceMs: 0 })]))
  return door.port
}

async function openBench(role: Role): Promise<EnvoyBench> {
  const [clients, servers] = [startEnds(), startEnds()]
  const appPort = await servers.listen('127.0.0.1')
  let onCarried: (carried: Carried) => void = () => {}
  const [own, peer] = role === 'source' ? [web, db] : [db, web]
  const log = new FrameLog(frameReader())
  const envoy = await startEnvoy({
    role,
    certificateChain: own.certificateChain,
    privateKey: own.privateKey(),
    trustBundle: own.trustBundle,
    expect: peer.id.uri,
    to: {
      address: '127.0.0.1',
      port: role === 'source' ? await openServer(appPort, carried => onCarried(carried)) : appPort,
    },
    onLogLine: line => log.note(line),
  })
  cleanups.push(envoy.stop)
  const port = role === 'source' ? envoy.port : await openDoor(envoy.port, carried => onCarried(carried))

  const open = async (): Promise<EnvoyLine> => {
    log.begin()
    const begun = new Promise<Carried>(resolve => {
      onCarried = resolve
    })
    const apps = { server: servers.accept(), client: clients.dial('127.0.0.1', port) }
    await Promise.all([apps.server.opened(), apps.client.opened()])
    const carried = await begun
    return {
      ...apps,
      carried,
      frames: () => log.frames,
      until: condition => log.until(condition),
      over: async () => {
        const { ending } = await carried.done
        if (ending.kind === 'ended') return undefined
        return ending.kind === 'reset' && ending.side === 'a' ? 'client' : 'server'
      },
    }
  }
  return { ...traitsOf(role), envoy, open }
}

const why = process.platform === 'linux' ? noEnvoy : ' (skipped: needs Linux)'

for (const role of ['source', 'destination'] as const) {
  const [near, far] = role === 'source' ? (['server', 'client'] as const) : (['client', 'server'] as const)

  describe.skipIf(why !== '')(`Envoy as ${role}${why}`, () => {
    let bench: EnvoyBench | undefined
    beforeAll(async () => {
      bench = await openBench(role)
    })
    afterAll(cleanUp)
    rowsWith(traitsOf(role), () => {
      if (bench === undefined) throw new Error('there is no bench')
      return bench
    })

    it('our proxy cuts: it hears INTERNAL_ERROR, no end; ours shows a reset', async () => {
      const line = await bench?.open()
      if (line === undefined) throw new Error('there is no bench')
      line[far].read()
      line[near].read()
      line[near].send(1_000)
      await line[far].until(() => line[far].received === 1_000)
      line.carried.abort.abort(new Error('the policy changed'))
      await line.until(({ told }) => told.length > 0)
      expect(line.frames().told).toEqual(['INTERNAL_ERROR'])
      expect(await line[near].ended()).toBe('reset')
    })
  })

  describe.skipIf(why !== '')(`Envoy as ${role}, which ends${why}`, () => {
    afterEach(cleanUp)
    for (const signal of ['SIGKILL', 'SIGTERM'] as const)
      for (const isPaused of [false, true])
        it(`by ${signal} under a transfer${isPaused ? ' to a reader that is paused' : ''}: what came, then a reset`, async () => {
          const { open, envoy } = await openBench(role)
          const line = await open()
          const app = line[near]
          if (!isPaused) app.read()
          line[far].send(MUCH)
          await (isPaused ? app.unread(1 << 16) : app.until(() => app.received > 1 << 20))
          envoy.child.kill(signal)
          await once(envoy.child, 'exit')
          app.read()
          expect(await app.ended()).toBe('reset')
          expect(app.received).toBeLessThan(MUCH)
          expect(app.hasTrueBytes).toBe(true)
        })
  })
}
