/** A tunnel between us, in either role, and a peer that writes frames by hand. */
import type { Channel } from '@ambient/core'
import { createHbonePool } from '@ambient/hbone'
import { db, deferred, harness, later, web } from './harness.ts'
import { encodeHeaders } from '../src/http2/hpack.ts'
import { frame, onRequests, type RawPeer, rawClient, rawServer, request, TYPE } from './raw-peer.ts'

export interface Wired {
  readonly peer: RawPeer
  /** Our channel of stream 1. */
  readonly channel: Channel
  /** Cuts our side without a grace. */
  readonly cut: () => Promise<void>
}

export const roles: Readonly<Record<'server' | 'client', () => Promise<Wired>>> = {
  async server() {
    const { promise, resolve } = deferred<Channel>()
    const { port, server } = await harness({
      onTunnel: tunnel => resolve(tunnel.accept()),
    })
    const peer = await rawClient(port.port, web)
    peer.settings()
    peer.write(request(1))
    const channel = await promise
    return { peer, channel, cut: () => server.close({ graceMs: 0 }) }
  },
  async client() {
    const server = await rawServer(db, peer => {
      peer.settings()
      onRequests(peer, id => peer.write(frame(TYPE.headers, 4, id, encodeHeaders([[':status', '200']]))))
    })
    const pool = createHbonePool()
    later(() => pool.close({ graceMs: 0 }))
    const tunnel = await pool.connect({
      credentials: web,
      expect: [db.id],
      to: { address: '127.0.0.1', port: server.port },
      authority: '127.0.0.1:8080',
    })
    const [peer] = server.peers
    if (peer === undefined) throw new Error('no session')
    return { peer, channel: tunnel.channel, cut: () => pool.close({ graceMs: 0 }) }
  },
}
