/** Tunnels to whatever listens on this machine: what surfaces and drivers are tested through. */
import { once } from 'node:events'
import type { AddressInfo, Server } from 'node:net'
import { parseHostPort, pump } from '@ambient/core'
import { dial, socketChannel } from '@ambient/core/node'
import { type HboneServerOptions, type OpenTunnel, type TunnelRequest, tunnelsVia } from '@ambient/hbone'
import { db, type Harness, harness, later, web } from './harness.ts'

export interface Tunnels extends Harness {
  readonly open: OpenTunnel
}

/** An HBONE server that dials each authority on loopback and copies, and what opens tunnels to it. */
export function tunnels(): Promise<Tunnels> {
  return tunnelsTo({ onTunnel: forward })
}

/** An HBONE server with a handler of its own. */
export async function tunnelsTo(
  options: Partial<HboneServerOptions> & Pick<HboneServerOptions, 'onTunnel'>,
): Promise<Tunnels> {
  const ends = await harness(options)
  const to = { address: ends.port.address, port: ends.port.port }
  return { ...ends, open: tunnelsVia({ pool: ends.pool, credentials: () => web, to, expect: [db.id] }) }
}

/** Names lead to loopback: nobody here has any. */
async function forward(request: TunnelRequest): Promise<void> {
  const { port } = parseHostPort(request.authority)
  const socket = await dial({ host: '127.0.0.1', port, signal: request.signal })
  await pump(request.accept(), socketChannel(socket))
}

/** Listens on a free port of loopback until the test ends. */
export async function listening(server: Server): Promise<{ readonly host: string; readonly port: number }> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => {
    const closed = once(server, 'close')
    server.close()
    if ('closeAllConnections' in server && typeof server.closeAllConnections === 'function')
      server.closeAllConnections()
    await closed
  })
  const { port } = server.address() as AddressInfo
  return { host: '127.0.0.1', port }
}

/** Resolves when no tunnel is left on either side. */
export async function quiet(ends: Tunnels): Promise<void> {
  while (ends.server.tunnels + ends.pool.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
}
