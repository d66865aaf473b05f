/**
 * Apache as an independent server: application ⇄ our proxy ⇄ tunnel ⇄ Apache ⇄ application. Our end first, 1 MiB each way; its
 * death while it sends. Apache ends a tunnel only after we have ended ours, and shows its target a reset of ours as an end,
 * so those rows are not here.
 *
 * Needs Apache 2.4 with mod_http2 and mod_proxy_connect; APACHE=path chooses one.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { pump, type PumpResult } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { describe, expect, it } from 'vitest'
import { apacheProblem as why, startApache } from './apache.ts'
import { db, harness, later } from './hbone-ends.ts'
import { App, MUCH, socketPair, until } from '../contracts/tcp-app.ts'

const MIB = 1 << 20

interface Through {
  readonly client: App
  readonly target: App
  readonly apache: ChildProcess
  readonly counts: { aToB: number; bToA: number }
  readonly done: Promise<PumpResult>
}

async function through(): Promise<Through> {
  const { child, port, close } = await startApache(db, { isOneProcess: true })
  later(close)
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => void server.close())
  const accepted = once(server, 'connection').then(([socket]) => socket as Socket)
  const { pool, request } = await harness({ onTunnel: () => {} })
  const authority = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const tunnel = await pool.connect(request({ to: { address: '127.0.0.1', port }, authority }))
  const [ours, theirs] = await socketPair()
  const [client, target] = [new App(theirs, false), new App(await accepted, false)]
  later(async () => {
    for (const { socket } of [client, target]) socket.destroy()
  })
  const counts = { aToB: 0, bToA: 0 }
  return {
    client,
    target,
    apache: child,
    counts,
    done: pump(tunnel.channel, socketChannel(ours), { counts }),
  }
}

describe.skipIf(why !== undefined)(`Apache${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('carries 1 MiB each way, our end first', async () => {
    const { client, target, done } = await through()
    client.send(MIB)
    client.end()
    await target.events.seen('end')
    expect([target.events.received, target.hasTrueBytes]).toEqual([MIB, true])
    target.send(MIB)
    target.end()
    await client.events.seen('end')
    expect([client.events.received, client.hasTrueBytes]).toEqual([MIB, true])
    expect((await done).ending).toEqual({ kind: 'ended' })
  })

  it('is killed while it sends: what came, then a reset', async () => {
    const { client, target, apache, counts } = await through()
    target.send(MUCH)
    await until(() => counts.aToB > 0)
    apache.kill('SIGKILL')
    await client.events.seen('reset')
    expect([client.ending, client.hasTrueBytes]).toEqual(['reset', true])
  })
})
