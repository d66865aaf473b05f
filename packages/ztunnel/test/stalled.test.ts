/** Both directions stand still because nobody reads; then one end goes. The other has to hear of it, and one record is written. */
import type { Socket } from 'node:net'
import { expect, it } from 'vitest'
import { echo, inbound, world } from './mesh.ts'

/** Longer than a pump and a stream give a reader that has stopped, one after the other. */
const PATIENCE_MS = 15_000

/** Sends until nothing is taken any more; resolves when it has stood still for a while. */
async function fill(socket: Socket): Promise<void> {
  const bytes = Buffer.alloc(65_536)
  for (let still = 0, before = -1; still < 10; still = socket.bytesWritten === before ? still + 1 : 0) {
    before = socket.bytesWritten
    while (socket.writableLength < 1 << 20) socket.write(bytes)
    // Bytes of a full path stop moving; only time tells.
    await new Promise(resolve => setTimeout(resolve, 30))
  }
}

for (const how of ['the client resets', 'the client’s ztunnel ends', 'the application is reset'])
  it(`${how}: nobody is left waiting`, { timeout: 60_000 }, async () => {
    const at = await world(echo)
    const { socket } = await at.mesh.connect(at.client, 'web', 80)
    socket.on('error', () => {})
    socket.pause()
    await fill(socket)
    const [app] = [...at.app.sockets]
    const appGone = new Promise(resolve => app?.once('close', resolve))
    if (how === 'the client resets') socket.resetAndDestroy()
    else if (how === 'the application is reset') app?.resetAndDestroy()
    else await at.a.ztunnel.close({ graceMs: 0 })
    await appGone
    await expect.poll(() => at.mesh.records.filter(inbound).length, { timeout: PATIENCE_MS }).toBe(1)
    if (how !== 'the application is reset') return
    socket.resume()
    // The reset arrives among unread bytes, which a plain Node socket may take for an end; the ledger knows better.
    const outbound = (): number => at.mesh.records.filter(record => !inbound(record)).length
    await expect.poll(outbound, { timeout: PATIENCE_MS }).toBe(1)
  })
