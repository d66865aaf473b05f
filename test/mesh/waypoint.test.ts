/** The waypoint of a Gateway: made with it, supervised, restarted without a gap, removed with it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestMesh } from '@ambient/mesh/testing'
import { get, namespace, startLoad, startShop, waypoint } from './shop.ts'

const withAccount = waypoint.replace(
  'namespace: shop',
  'namespace: shop\n  annotations: { istio.io/for-service-account: server }',
)

let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({
    enrolled: true,
    more: { 'namespace.yaml': namespace(true, 'waypoint'), 'w-gateway.yaml': waypoint },
  })
})

afterAll(() => mesh.close())

/** How many requests the waypoint says that it answered. */
async function requests(): Promise<number> {
  const metrics = await (await fetch(`${mesh.waypoint('waypoint').statsUrl}/stats/prometheus`)).text()
  const counts = [...metrics.matchAll(/^istio_requests_total\{[^}]*\} ([0-9]+)/gm)]
  return counts.reduce((sum, [, count]) => sum + Number(count), 0)
}

describe('a waypoint', () => {
  test('is a process of its own, with an address and an identity of its own', async () => {
    const running = mesh.waypoint('shop/waypoint')
    expect(running).toMatchObject({ name: 'waypoint', namespace: 'shop', ready: true, restarts: 0 })
    expect(mesh.waypoints).toHaveLength(1)
    await mesh.synced()
    expect(mesh.pods.map(({ address }) => address)).not.toContain(running.address)
    const status = await mesh.status()
    expect(status.waypoints).toEqual([
      {
        namespace: 'shop',
        name: 'waypoint',
        revision: 'default',
        trafficType: 'service',
        programmed: true,
        reason: 'Programmed',
        message: 'Resource programmed, assigned to service(s) waypoint.shop.svc.cluster.local:15008',
        address: expect.stringMatching(/^127\..*\.200\./),
      },
    ])
    const proxy = status.proxies.find(({ kind }) => kind === 'waypoint')
    expect(proxy).toMatchObject({ name: `${running.pod}.shop`, ready: true, pid: running.pid })
    expect(proxy?.types.every(({ state }) => state === 'SYNCED')).toBe(true)
    expect(proxy?.types.length).toBeGreaterThan(2)
    expect(proxy?.certificates.map(({ identity }) => identity)).toEqual([
      'spiffe://cluster.local/ns/shop/sa/waypoint',
    ])
  })

  test('what is addressed to the service passes it, once', async () => {
    const before = await requests()
    expect(await get(mesh, 'client')).toBe('200')
    await expect.poll(requests).toBe(before + 1)
  })

  test('what is addressed to a pod does not', async () => {
    const before = await requests()
    expect(await get(mesh, 'client', `http://${mesh.pod('server').address}:8080/`)).toBe('200')
    expect(await requests()).toBe(before)
  })

  test.each(['new', 'keep-alive'] as const)(
    'restarted under load, %s connections: no request fails',
    async kind => {
      const load = await startLoad(mesh, kind)
      const { pid } = mesh.waypoint('waypoint')
      await mesh.waypoint('waypoint').restart()
      await mesh.waypoint('waypoint').restart()
      const { sent, failed } = await load.stop()
      expect(failed).toEqual([])
      expect(sent).toBeGreaterThan(100)
      expect(mesh.waypoint('waypoint')).toMatchObject({ ready: true, restarts: 0 })
      expect(mesh.waypoint('waypoint').pid).not.toBe(pid)
    },
  )

  test.each(['client', 'server'])(
    'the ztunnel of the %s is restarted on either side of it: no request fails',
    async pod => {
      const load = await startLoad(mesh, 'keep-alive')
      await mesh.ztunnel(mesh.pod(pod).node).restart()
      await mesh.ztunnel(mesh.pod(pod).node).restart()
      const { sent, failed } = await load.stop()
      expect(failed).toEqual([])
      expect(sent).toBeGreaterThan(100)
    },
  )

  test('killed, its callers are refused at once; it comes back and all recovers', async () => {
    mesh.waypoint('waypoint').kill()
    await mesh.event(event => event.kind === 'exited' && !event.asked && event.source.kind === 'waypoint')
    expect(await get(mesh, 'client')).toMatch(/^E|SOCKS/)
    await expect.poll(() => get(mesh, 'client'), { timeout: 10_000 }).toBe('200')
    expect(mesh.waypoint('waypoint').restarts).toBe(1)
  })

  test('under another account it is another waypoint', async () => {
    const { pod } = mesh.waypoint('waypoint')
    await mesh.write('w-gateway.yaml', withAccount)
    await mesh.event(event => event.kind === 'waypoint-removed')
    await expect.poll(() => mesh.waypoint('waypoint').ready, { timeout: 10_000 }).toBe(true)
    await mesh.synced()
    expect(mesh.waypoint('waypoint').pod).not.toBe(pod)
    expect(await get(mesh, 'client')).toBe('200')
  })

  test('goes with its Gateway', async () => {
    const { pid, name } = mesh.waypoint('waypoint')
    await mesh.write('namespace.yaml', namespace(true))
    await mesh.remove('w-gateway.yaml')
    await expect.poll(() => isAlive(pid)).toBe(false)
    expect(mesh.waypoints).toEqual([])
    expect(() => mesh.waypoint(name)).toThrowError('there is no waypoint waypoint; there are: none')
    await mesh.synced()
    expect(await get(mesh, 'client')).toBe('200')
  })
})

function isAlive(pid: number | undefined): boolean {
  try {
    return process.kill(pid ?? 0, 0)
  } catch {
    return false
  }
}
