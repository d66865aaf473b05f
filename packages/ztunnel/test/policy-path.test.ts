/** Policy and plaintext on the whole path: who is let through, who is cut, and what the ledger says. */
import { describe, expect, it } from 'vitest'
import { echo, fieldsOf, inbound, outbound, policy, principal, world } from './mesh.ts'
import { connectTo, readAll, readBytes, serve } from './sockets.ts'

describe('policy', () => {
  it('refuses with code 2, status 401 and the reason', async () => {
    const { mesh, client, stranger, b } = await world(echo)
    mesh.policies.replace([policy('only-client', 'Allow', { principals: [principal('client')] })])
    expect((await mesh.connect(client, 'web', 80)).reply).toBe(0)
    expect((await mesh.connect(stranger, 'web', 80)).reply).toBe(2)
    expect(await mesh.record(record => outbound(record) && record.flag !== '-')).toMatchObject({
      error: 'http status: 401 Unauthorized',
    })
    const denied = await mesh.record(record => inbound(record) && record.flag === 'DENY')
    expect(denied.error).toBe(
      'connection closed due to policy rejection: allow policies exist, but none allowed',
    )
    await b.ztunnel.close({ graceMs: 0 })
    const line = b.access().find(text => text.includes('rejection'))
    expect(fieldsOf(line ?? '')).toMatchObject({
      'src.identity': 'spiffe://cluster.local/ns/default/sa/stranger',
      policy: 'default/only-client',
    })
  })

  it('that changes closes what it no longer allows, at once, and leaves the rest alone', async () => {
    const { mesh, client, stranger, app } = await world(echo)
    const kept = await mesh.connect(client, 'web', 80)
    const cut = await mesh.connect(stranger, 'web', 80)
    cut.socket.write('x')
    await readBytes(cut.socket, 1)
    const ended = readAll(cut.socket)
    const began = Date.now()
    mesh.policies.replace([policy('no-strangers', 'Deny', { principals: [principal('stranger')] })])
    expect((await ended).end).toBe('reset')
    expect(Date.now() - began).toBeLessThan(1_000)
    expect(await mesh.record(record => inbound(record) && record.flag === 'DENY')).toMatchObject({
      error: 'connection closed due to policy change',
      denial: { reason: 'explicitly denied by: default/no-strangers' },
    })
    kept.socket.write('still')
    expect((await readBytes(kept.socket, 5)).toString()).toBe('still')
    expect(app.sockets.size).toBe(1)
  })

  it('that the workload begins to name counts for open connections', async () => {
    const { mesh, stranger, server, client, outside, web } = await world(echo)
    const cut = await mesh.connect(stranger, 'web', 80)
    const ended = readAll(cut.socket)
    const named = { ...server, authorizationPolicies: ['default/by-name'] }
    mesh.directory.replace({ workloads: [client, stranger, outside, named], services: [web] })
    mesh.policies.replace([
      policy('by-name', 'Deny', { principals: [principal('stranger')] }, { scope: 'WorkloadSelector' }),
    ])
    expect((await ended).end).toBe('reset')
  })
})

describe('plaintext', () => {
  it('from outside the mesh reaches a workload inside it by its entrance, without identity', async () => {
    const { mesh, outside, a, b } = await world(echo)
    const { socket, reply } = await mesh.connect(outside, 'web', 80)
    expect(reply).toBe(0)
    socket.end('plain')
    expect((await readAll(socket)).text).toBe('plain')
    const record = await mesh.record(inbound)
    expect(record.securityPolicy).toBe('unknown')
    expect(record.connection.source.identity).toBeUndefined()
    await Promise.all([a.ztunnel.close(), b.ztunnel.close()])
    expect(a.access()).toEqual([])
    expect(b.access().map(fieldsOf)).toEqual([
      expect.objectContaining({ 'src.workload': 'outside', bytes_sent: '5', bytes_recv: '5' }),
    ])
  })

  it('is refused where mutual TLS is required, before the application sees it', async () => {
    const { mesh, outside, client, app } = await world(echo, {
      server: { authorizationPolicies: ['istio-system/istio_converted_static_strict'] },
    })
    mesh.policies.replace([
      policy(
        'istio_converted_static_strict',
        'Deny',
        { notPrincipals: [{ kind: 'presence' }] },
        { namespace: 'istio-system', scope: 'WorkloadSelector' },
      ),
    ])
    const { socket } = await mesh.connect(outside, 'web', 80)
    socket.write('plain')
    expect(await readAll(socket)).toEqual({ text: '', end: 'reset' })
    expect(app.sockets.size).toBe(0)
    expect(await mesh.record(inbound)).toMatchObject({
      flag: 'DENY',
      denial: { reason: 'explicitly denied by: istio-system/istio_converted_static_strict' },
    })
    expect((await mesh.connect(client, 'web', 80)).reply).toBe(0)
  })

  it('to a workload outside the mesh is recorded by the client’s side alone', async () => {
    const { mesh, client } = await world(echo, { server: { protocol: 'TCP' } })
    const { socket, reply } = await mesh.connect(client, 'web', 80)
    expect(reply).toBe(0)
    socket.end('plain')
    expect((await readAll(socket)).text).toBe('plain')
    const record = await mesh.record(outbound)
    expect(record.securityPolicy).toBe('unknown')
    expect(mesh.records.filter(inbound)).toEqual([])
  })

  it('passes through to addresses that nobody knows; names that nobody knows are code 4', async () => {
    const { mesh, client } = await world(echo)
    const elsewhere = await serve(echo)
    const { socket, reply } = await mesh.connect(client, elsewhere.address, elsewhere.port)
    expect(reply).toBe(0)
    socket.end('x')
    expect((await readAll(socket)).text).toBe('x')
    expect((await mesh.connect(client, 'nobody', 80)).reply).toBe(4)
    expect((await mesh.connect(client, 'web', 81)).reply).toBe(4)
  })

  it('at the entrance without a header, or for another address, is reset', async () => {
    const { server, b, mesh } = await world(echo)
    const socket = await connectTo(server.addresses[0] ?? '', 15006)
    socket.write('GET / HTTP/1.1\r\n\r\n')
    expect((await readAll(socket)).end).toBe('reset')
    expect(mesh.records).toEqual([])
    await b.ztunnel.close()
    expect(b.access()).toHaveLength(1)
    expect(b.access()[0]).toContain('PROXY protocol header refused')
  })
})
