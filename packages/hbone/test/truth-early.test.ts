/**
 * Applications that answer before they have read everything, and close: the kernel says RST behind the answer, and the
 * answer arrives all the same.
 */
import { describe, expect, it } from 'vitest'
import { later } from './harness.ts'
import { App, MUCH, socketPair, until } from '../../../test/contracts/tcp-app.ts'
import { openLine, type Side } from './truth-line.ts'

const ANSWER = 50_000

/** The answer that arrived, when `server` closed over what `client` was sending. */
async function answer(client: App, server: App): Promise<number> {
  client.send(MUCH)
  await until(() => server.socket.bytesRead > 0)
  server.send(ANSWER)
  server.close()
  await client.events.seen('reset')
  return client.events.received
}

describe('an early answer', () => {
  it('arrives over plain TCP', async () => {
    const [left, right] = await socketPair()
    later(async () => void left.destroy())
    expect(await answer(new App(left, false), new App(right, false))).toBe(ANSWER)
  })

  it('arrives when the next write finds the reset before the next read does', async () => {
    const [left, right] = await socketPair()
    const [client, server] = [new App(left, false), new App(right, true)]
    later(async () => void left.destroy())
    client.send(1_000)
    server.send(ANSWER)
    server.close()
    client.send(1_000)
    await client.events.seen('reset')
    expect(client.events.received).toBe(ANSWER)
  })

  for (const side of ['client', 'server'] as const satisfies readonly Side[])
    for (let round = 1; round <= 5; round++)
      it(`arrives at the ${side} through a line (${round})`, async () => {
        const line = await openLine()
        const other = side === 'client' ? line.server : line.client
        expect(await answer(line[side], other)).toBe(ANSWER)
      })
})
