/** Namespaces join and leave the mesh under load: no request may notice. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestMesh } from '@ambient/mesh/testing'
import { namespace, startLoad, startShop, waypoint } from './shop.ts'

let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({ enrolled: true })
})

afterAll(() => mesh.close())

async function enrol(enrolled: boolean, through?: string): Promise<void> {
  const text = namespace(enrolled, through)
  expect(await mesh.write('namespace.yaml', text)).toMatchObject({ kind: 'applied' })
  await mesh.synced()
  expect(mesh.pods.every(pod => pod.enrolled === enrolled)).toBe(true)
}

describe.each(['new', 'keep-alive'] as const)('under load, %s connections', kind => {
  test('a namespace leaves the mesh, comes back, and leaves: no request fails', async () => {
    const load = await startLoad(mesh, kind)
    for (const enrolled of [false, true, false, true, false, true]) await enrol(enrolled)
    const { sent, failed } = await load.stop()
    expect(failed).toEqual([])
    expect(sent).toBeGreaterThan(50)
  })

  test('with a waypoint, which comes and goes as well: no request fails', async () => {
    await mesh.write('w-gateway.yaml', waypoint)
    await expect.poll(() => mesh.waypoints[0]?.ready, { timeout: 10_000 }).toBe(true)
    await mesh.synced()
    const load = await startLoad(mesh, kind)
    await enrol(true, 'waypoint')
    await enrol(false, 'waypoint')
    await enrol(true, 'waypoint')
    await enrol(true)
    await mesh.remove('w-gateway.yaml')
    await mesh.event(event => event.kind === 'waypoint-removed')
    await enrol(false)
    const { sent, failed } = await load.stop()
    expect(failed).toEqual([])
    expect(sent).toBeGreaterThan(50)
    await enrol(true)
  })
})
