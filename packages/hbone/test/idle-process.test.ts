/** A program with nothing to do but an idle session may end; one with a tunnel, or that is closing, may not. */
import { expect, it } from 'vitest'
import { harness } from './harness.ts'

/** TCP sockets that keep the process alive. */
const held = (): number => process.getActiveResourcesInfo().filter(type => type === 'TCPSocketWrap').length

it('a session without tunnels does not keep the process alive', async () => {
  const { connect, pool, server } = await harness({ onTunnel: request => request.accept() && undefined })
  const first = await connect()
  // The server's socket is in this process too, and holds it.
  const open = held()
  first.channel.reset('CANCEL', 'enough')
  while (server.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
  expect([pool.sessions, held()]).toEqual([1, open - 1])
  const second = await connect()
  expect([pool.sessions, held()]).toEqual([1, open])
  second.channel.reset('CANCEL', 'enough')
  // Its goodbye is worth waiting for.
  pool.retire()
  expect(held()).toBe(open)
})
