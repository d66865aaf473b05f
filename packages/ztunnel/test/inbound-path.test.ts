/** Port 15008 as a client of our own sees it: status codes, identities, lines of refusals. */
import { type Credentials, parseSpiffeId } from '@ambient/core'
import { connect, type HeaderList, HboneError } from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'
import { describe, expect, it } from 'vitest'
import { echo, fieldsOf, inbound, type World, world } from './mesh.ts'
import { connectTo, readAll, readBytes } from './sockets.ts'

const serverId = parseSpiffeId('spiffe://cluster.local/ns/default/sa/server')

function tunnel({ server }: World, credentials: Credentials, authority: string, headers: HeaderList = []) {
  const to = { address: server.addresses[0] ?? '', port: 15008 }
  return connect({ credentials, to, expect: [serverId], authority, headers })
}

async function statusOf(attempt: Promise<unknown>): Promise<number | undefined> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof HboneError)) throw new Error(`not refused: ${error}`)
  return error.status
}

describe('a CONNECT', () => {
  it('to the workload is answered with its baggage, and labelled from ours', async () => {
    const all = await world(echo)
    const client = await all.mesh.credentials('gateway')
    const baggage =
      'k8s.cluster.name=other,k8s.namespace.name=far,k8s.deployment.name=dep,service.name=svc,service.version=v9'
    const { responseHeaders, socket } = await tunnel(
      all,
      client,
      `${all.server.addresses[0]}:${all.app.port}`,
      [['baggage', baggage]],
    )
    expect(Object.fromEntries(responseHeaders)['baggage']).toBe(
      'k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name=server,service.name=server,service.version=v1',
    )
    socket().end()
    await all.mesh.record(inbound)
    await all.b.ztunnel.close()
    expect(fieldsOf(all.b.access()[0] ?? '')).toMatchObject({
      'src.workload': 'svc',
      'src.namespace': 'far',
      'src.cluster': 'other',
      'src.identity': 'spiffe://cluster.local/ns/default/sa/gateway',
    })
  })

  it('elsewhere is refused: 400 for another address, 503 for what cannot be resolved or is ourselves', async () => {
    const all = await world(echo)
    const client = await all.mesh.credentials('client')
    const own = all.server.addresses[0]
    const targets = [
      ['127.0.0.1:80', 400, 'ip mismatch'],
      ['nobody.example:80', 503, 'no service or workload for hostname: nobody.example'],
      ['web.default.svc.cluster.local:81', 503, 'cannot resolve port'],
      [`${own}:15008`, 503, 'attempted recursive call to ourselves'],
      [`${own}:15080`, 503, 'attempted recursive call to ourselves'],
      [`${own}:1`, 503, 'connection failed'],
    ] as const
    for (const [authority, status] of targets)
      expect([authority, await statusOf(tunnel(all, client, authority))]).toEqual([authority, status])
    await all.b.ztunnel.close({ graceMs: 0 })
    const errors = all.b.access().map(line => fieldsOf(line)['error'] ?? '')
    expect(errors).toHaveLength(targets.length)
    for (const [index, [, , reason]] of targets.entries()) expect(errors[index]).toContain(reason)
    expect(all.app.sockets.size).toBe(0)
  })

  it('by name reaches the port that the service maps', async () => {
    const all = await world(echo)
    const client = await all.mesh.credentials('client')
    const opened = await tunnel(all, client, 'web.default.svc.cluster.local:80')
    const socket = opened.socket()
    socket.end('by name')
    expect((await readAll(socket)).text).toBe('by name')
  })
})

describe('a peer that proves nothing', () => {
  it('gets no further than the handshake, and is one line', async () => {
    const all = await world(echo)
    const strangers = await createTestIdentities()
    const foreign = await strangers.credentials({ namespace: 'default', serviceAccount: 'client' })
    await expect(tunnel(all, foreign, `${all.server.addresses[0]}:${all.app.port}`)).rejects.toThrow()
    const plain = await connectTo(all.server.addresses[0] ?? '', 15008)
    plain.write('GET / HTTP/1.1\r\n\r\n')
    await readAll(plain)
    await all.b.line(/\taccess\tconnection failed\t/)
    await all.b.ztunnel.close({ graceMs: 0 })
    expect(all.app.sockets.size).toBe(0)
    expect(all.b.access().every(line => line.includes('connection failed'))).toBe(true)
    expect(all.mesh.records).toEqual([])
  })
})

describe('a SOCKS5 client that proves nothing', () => {
  it('is refused before it can ask', async () => {
    const { client, stranger } = await world(echo)
    const socket = await connectTo(client.addresses[0] ?? '', 15080)
    const user = Buffer.from(`default/${stranger.name}`)
    const secret = Buffer.from('correct horse')
    socket.write(
      Buffer.concat([Buffer.from([5, 1, 2, 1, user.length]), user, Buffer.from([secret.length]), secret]),
    )
    expect([...(await readBytes(socket, 4))]).toEqual([5, 2, 1, 1])
    expect((await readAll(socket)).end).toBe('fin')
  })
})
