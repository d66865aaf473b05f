/**
 * The truth of bytes between our ztunnel and Istio's, either as the source: the rows of `hbone-rows.ts`, the death of Istio's and
 * its drain under a transfer, and the drain of ours. Istio's reports every frame (`h2::codec=debug`). It takes a TCP reset of its
 * application for an end and says END_STREAM; of ours it hears CONNECT_ERROR, and shows an end all the same.
 *
 * Every pairing runs in two network namespaces of its own. Needs root, Linux, iproute2, and the real ztunnel:
 * ISTIO_ZTUNNEL=path/to/ztunnel.
 */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { FrameLog, type LoggedFrame } from './hbone-frames.ts'
import { Ends, endsCommand } from './hbone-line.ts'
import { type Bench, type Line, type PeerTraits, rowsWith } from './hbone-rows.ts'
import { atEnd, awaitReady, canMakeHosts, endHosts, makeHosts, type Started, startOn } from './hosts.ts'
import { type Make, theirs, ztunnelCommand, ztunnelEnvironment } from './ztunnels.ts'

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures')
const CLIENT_IP = '10.99.0.1'
const SERVER_IP = '10.99.0.2'
const SOCKS_PORT = 15080
const MUCH = 32 << 20

const traits = { name: 'Istio’s', saysEndForReset: true, endsBoth: false } as const

interface ZtunnelBench extends Bench {
  readonly ours: Started
  readonly theirs: Started
}

/** `… send frame=Reset { stream_id: StreamId(3), error_code: CANCEL }`, of HBONE; its certificates come by HTTP/2 as well. */
function readFrame(line: string): LoggedFrame | undefined {
  const [, by, kind, stream, rest = ''] =
    /h2::codec::framed_\w+(?::socks5\S*)?\t(send|received)\tframe=(\w+) \{ stream_id: StreamId\((\d+)\)(.*)/.exec(
      line,
    ) ?? []
  if (stream === undefined) return undefined
  const code = /error_code: (\w+)/.exec(rest)?.[1]
  const what = kind === 'Headers' ? 'OPEN' : (code ?? (/END_STREAM/.test(rest) ? 'END' : undefined))
  return what === undefined ? undefined : { stream, by: by === 'send' ? 'peer' : 'ours', what }
}

async function openBench(source: Make): Promise<ZtunnelBench> {
  const hosts = await makeHosts({ client: CLIENT_IP, server: SERVER_IP })
  const folder = mkdtempSync(join(tmpdir(), 'ambient-interop-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const plane = startOn(hosts.client, [
    ...[process.execPath, join(fixtures, 'plane.mjs')],
    ...[CLIENT_IP, CLIENT_IP, SERVER_IP, folder],
  ])
  await plane.saw(/^ready/)
  const start = (make: Make, name: 'client' | 'server', ip: string): Started =>
    startOn(hosts[name], ztunnelCommand(make), {
      ...ztunnelEnvironment(name, folder, { plane: CLIENT_IP, ip }),
      CONNECTION_TERMINATION_DEADLINE: '1s',
      RUST_LOG: make === 'theirs' ? 'info,h2::codec=debug' : 'info',
    })
  const client = start(source, 'client', CLIENT_IP)
  const server = start(source === 'ours' ? 'theirs' : 'ours', 'server', SERVER_IP)
  const [ours, theirs] = source === 'ours' ? [client, server] : [server, client]
  const log = new FrameLog(readFrame)
  createInterface({ input: theirs.child.stdout }).on('line', line => log.note(line))
  const clients = new Ends(startOn(hosts.client, endsCommand).child)
  const servers = new Ends(startOn(hosts.server, endsCommand).child)
  const port = await servers.listen(SERVER_IP)
  await Promise.all([awaitReady(hosts.client, client), awaitReady(hosts.server, server)])

  const open = async (): Promise<Line> => {
    const [from, fromTheirs] = [ours.lines.length, theirs.lines.length]
    log.begin()
    const apps = { server: servers.accept(), client: clients.dial(SERVER_IP, port, SOCKS_PORT) }
    await Promise.all([apps.server.opened(), apps.client.opened(), log.answered()])
    return {
      ...apps,
      frames: () => log.frames,
      until: condition => log.until(condition),
      over: async () => {
        const line = await ours.saw(/connection complete/, from)
        await theirs.saw(/connection complete/, fromTheirs)
        const [, side] = /reset="(\w+)"/.exec(line) ?? []
        return side === undefined ? undefined : side === 'source' ? 'client' : 'server'
      },
    }
  }
  // Certificates are there, and a session.
  const first = await open()
  for (const app of [first.client, first.server]) {
    app.read()
    app.end()
  }
  await first.over()
  return { ...traits, side: source === 'ours' ? 'server' : 'client', open, ours, theirs }
}

const why = !canMakeHosts
  ? ' (skipped: needs root on Linux with iproute2)'
  : theirs === ''
    ? ' (skipped: ISTIO_ZTUNNEL is not set)'
    : ''

for (const source of ['ours', 'theirs'] as const) {
  const side: PeerTraits['side'] = source === 'ours' ? 'server' : 'client'
  const [near, far] = source === 'ours' ? (['client', 'server'] as const) : (['server', 'client'] as const)
  const title = source === 'ours' ? 'our ztunnel to Istio’s' : 'Istio’s ztunnel to ours'

  describe.skipIf(why !== '')(`${title}${why}`, () => {
    let bench: ZtunnelBench | undefined
    beforeAll(async () => {
      bench = await openBench(source)
    }, 60_000)
    afterAll(endHosts)
    rowsWith({ ...traits, side }, () => {
      if (bench === undefined) throw new Error('there is no bench')
      return bench
    })
  })

  describe.skipIf(why !== '')(`${title}, which ends${why}`, () => {
    afterEach(endHosts)

    for (const isPaused of [false, true])
      it(`Istio’s is killed under a transfer${isPaused ? ' to a reader that is paused' : ''}: what came, then a reset`, async () => {
        const { open, theirs: peer } = await openBench(source)
        const line = await open()
        const app = line[near]
        if (!isPaused) app.read()
        line[far].send(MUCH)
        await (isPaused ? app.unread(1 << 16) : app.until(() => app.received > 1 << 20))
        peer.child.kill('SIGKILL')
        await once(peer.child, 'exit')
        app.read()
        expect(await app.ended()).toBe('reset')
        expect(app.received).toBeLessThan(MUCH)
        expect(app.hasTrueBytes).toBe(true)
      }, 60_000)

    it('Istio’s is told to, and cuts what is still open: a reset behind the bytes', async () => {
      const { open, theirs: peer } = await openBench(source)
      const line = await open()
      const app = line[near]
      app.read()
      line[far].send(1_000)
      await app.until(() => app.received === 1_000)
      peer.child.kill('SIGTERM')
      expect(await app.ended()).toBe('reset')
      expect(app.hasTrueBytes).toBe(true)
    }, 60_000)

    it('ours is told to, and cuts what is still open: Istio’s hears INTERNAL_ERROR, no end', async () => {
      const { open, ours } = await openBench(source)
      const line = await open()
      line[far].read()
      line[near].send(1_000)
      await line[far].until(() => line[far].received === 1_000)
      ours.child.kill('SIGTERM')
      await line.until(({ told }) => told.length > 0)
      expect(line.frames().told).toEqual(['INTERNAL_ERROR'])
    }, 60_000)
  })
}
