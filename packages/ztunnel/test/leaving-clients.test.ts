/** SOCKS5 clients that leave at every stage, by an end or a reset: whatever was opened for them is closed, on both sides. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { echo, inbound, outbound, SECRET, type World, world } from './mesh.ts'
import { connectTo, readBytes, socksRequest } from './sockets.ts'

type Leave = (socket: Socket) => void

const ways: Readonly<Record<string, Leave>> = {
  'an end': socket => void socket.end(),
  'a reset': socket => void socket.resetAndDestroy(),
}

const user = Buffer.from('default/client')
const secret = Buffer.from(SECRET)
const greeting = Buffer.from([5, 1, 2])
const login = Buffer.from([1, user.length, ...user, secret.length, ...secret])
/** To its end: method, verdict and reply. */
const ANSWER_BYTES = 2 + 2 + 10

function request(at: World): Buffer {
  return socksRequest(at.web.vips[0]?.ip ?? '', 80)
}

/** Not flowing before it is read from; its end is taken notice of. */
async function clientOf(at: World): Promise<Socket> {
  const address = at.client.addresses[0] ?? ''
  return connectTo(address, 15080, address)
}

/** Nothing is open any more: the application, and what the ztunnels count. */
async function nothingIsLeft(at: World): Promise<void> {
  await expect.poll(() => at.app.sockets.size, { timeout: 10_000 }).toBe(0)
  // Both wait for what is open, without a limit that the test would live to see.
  await at.a.ztunnel.close({ graceMs: 60_000 })
  await at.b.ztunnel.close({ graceMs: 60_000 })
  for (const line of [...at.a.lines(), ...at.b.lines()]) expect(line).not.toContain('forcefully')
}

describe.each(Object.entries(ways))('a client that leaves by %s', (how, leave) => {
  it.each([
    ['in the middle of its greeting', Buffer.from([5])],
    ['after its greeting', greeting],
    ['in the middle of its login', Buffer.concat([greeting, login.subarray(0, 5)])],
    ['while its secret is looked up', Buffer.concat([greeting, login])],
  ])('%s opens nothing', async (_, bytes) => {
    const at = await world(echo)
    const socket = await clientOf(at)
    socket.write(bytes)
    leave(socket)
    await at.a.line(/socks connection refused.*left during/)
    if (!socket.destroyed) await once(socket.resume(), 'close')
    await nothingIsLeft(at)
    expect(at.mesh.records).toEqual([])
  })

  it.each([
    ['with its request', ''],
    ['with its request, and has said something', 'early'],
  ])('%s is done with', async (_, early) => {
    const at = await world(echo)
    const socket = await clientOf(at)
    socket.write(Buffer.concat([greeting, login, request(at), Buffer.from(early)]))
    leave(socket)
    // A reset may be met before the request is read.
    await Promise.race([at.mesh.record(outbound), at.a.line(/socks connection refused/)])
    await nothingIsLeft(at)
    // Half a conversation is none: what comes with a reset is not delivered as if it were whole.
    expect(at.mesh.records.filter(inbound).map(record => record.receivedBytes)).toEqual(
      how === 'an end' ? [early.length] : [],
    )
  })

  it.each([
    ['while its tunnel is opened', ''],
    ['while its tunnel is opened, and has said something', 'early'],
  ])('%s is done with', async (_, early) => {
    const at = await world(echo)
    const socket = await clientOf(at)
    socket.write(Buffer.concat([greeting, login, request(at), Buffer.from(early)]))
    // The request is read in the turn after the verdict is told.
    await readBytes(socket, ANSWER_BYTES - 10)
    leave(socket)
    await at.mesh.record(outbound)
    await nothingIsLeft(at)
  })

  it.each([
    ['when it is answered', ''],
    ['when it is answered, and has said something', 'last words'],
  ])('%s is done with', async (_, last) => {
    const at = await world(echo)
    const socket = await clientOf(at)
    socket.write(Buffer.concat([greeting, login, request(at)]))
    await readBytes(socket, ANSWER_BYTES)
    socket.write(last)
    leave(socket)
    await at.mesh.record(outbound)
    await at.mesh.record(inbound)
    await nothingIsLeft(at)
  })
})

it('clients that vanish by the dozen while they connect leave nothing open', async () => {
  const at = await world(echo)
  const clients = await Promise.all(Array.from({ length: 48 }, () => clientOf(at)))
  const bytes = Buffer.concat([greeting, login, request(at), Buffer.from('early')])
  for (const [index, socket] of clients.entries()) {
    socket.write(bytes.subarray(0, bytes.length - (index % 6)))
    // With nothing read and nothing unread it says an end, whatever it would say to answers that come later.
    if (index % 2 === 0) socket.destroy()
    else
      void readBytes(socket, ANSWER_BYTES).then(
        () => socket.destroy(),
        () => socket.destroy(),
      )
  }
  await at.mesh.record(outbound, 48)
  await nothingIsLeft(at)
  expect(at.mesh.records.filter(outbound)).toHaveLength(48)
})
