import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestMesh } from '@ambient/mesh/testing'
import { deployment, get, hold, policy, startShop } from './shop.ts'

let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({
    enrolled: true,
    more: { 'c-other.yaml': deployment('other'), 'policy.yaml': policy('ALLOW', 'client', 'other') },
  })
})

afterAll(() => mesh.close())

test('a policy that is edited closes the connections that it no longer allows, and no others', async () => {
  const [client, other] = await Promise.all([hold(mesh, 'client'), hold(mesh, 'other')])
  await expect.poll(client.heard).toBe('hello\n')
  await expect.poll(other.heard).toBe('hello\n')

  const startedAt = performance.now()
  await mesh.write('policy.yaml', policy('ALLOW', 'client'))
  await other.ended
  expect(performance.now() - startedAt).toBeLessThan(1_000)
  expect(other.heard()).toMatch(/closed\n$/)
  client.say('still here')
  await expect.poll(client.heard).toBe('hello\nstill here')

  expect(await get(mesh, 'client')).toBe('200')
  expect(await get(mesh, 'other')).not.toBe('200')
  const refusal = await mesh.event(
    event =>
      event.kind === 'output' &&
      event.source.kind === 'ztunnel' &&
      /direction="inbound".*error=/.test(event.line),
  )
  expect(refusal).toMatchObject({ line: expect.stringContaining('shop/server-callers') })
})

test('DENY wins, and its end brings the callers back', async () => {
  await mesh.write('policy.yaml', policy('DENY', 'client'))
  await mesh.synced()
  expect(await get(mesh, 'client')).not.toBe('200')
  expect(await get(mesh, 'other')).toBe('200')
  await mesh.remove('policy.yaml')
  await mesh.synced()
  expect(await get(mesh, 'client')).toBe('200')
})

test('an ALLOW that ends closes the connections that it alone allowed, when its time has come', async () => {
  const ends = new Date(Date.now() + 3_000).toISOString()
  const lasting = policy('ALLOW', 'client')
  const ending = policy('ALLOW', 'other')
    .replace('server-callers', 'for-now')
    .replace('metadata: {', `metadata: { annotations: { ambient.dev/expires: "${ends}" },`)
  await mesh.write('policy.yaml', `${lasting}---\n${ending}`)
  await mesh.synced()
  const [client, other] = await Promise.all([hold(mesh, 'client'), hold(mesh, 'other')])
  await expect.poll(client.heard).toBe('hello\n')
  await expect.poll(other.heard).toBe('hello\n')
  await other.ended
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(ends))
  expect(await get(mesh, 'other')).not.toBe('200')
  client.say('still here')
  await expect.poll(client.heard).toBe('hello\nstill here')
})
