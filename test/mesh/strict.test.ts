import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestMesh } from '@ambient/mesh/testing'
import { deployment, get, hold, startShop } from './shop.ts'

const outside = `apiVersion: v1
kind: Namespace
metadata: { name: outside }
---
${deployment('outsider').replaceAll('namespace: shop', 'namespace: outside')}`

const strict = (exception: boolean): string => `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: server, namespace: shop }
spec:
  selector:
    matchLabels: { app: server }
  mtls: { mode: STRICT }
${exception ? '  portLevelMtls:\n    7000: { mode: PERMISSIVE }\n' : ''}`

const FROM_OUTSIDE = 'http://server.shop/x'
let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({ enrolled: true, more: { 'c-outside.yaml': outside } })
})

afterAll(() => mesh.close())

/** What the server's port 7000 says to somebody. */
async function greetingFor(pod: string): Promise<string> {
  const held = await hold(mesh, pod, 'server.shop')
  await expect.poll(held.heard).not.toBe('')
  return held.heard()
}

test('PERMISSIVE lets plaintext in; STRICT does not; a port can be excepted', async () => {
  expect(await get(mesh, 'outsider', FROM_OUTSIDE)).toBe('200')
  expect(await greetingFor('outsider')).toBe('hello\n')

  await mesh.write('strict.yaml', strict(false))
  await mesh.synced()
  expect(await get(mesh, 'outsider', FROM_OUTSIDE)).toMatch(/^E/)
  expect(await greetingFor('outsider')).toMatch(/^(error|closed)/)
  expect(await get(mesh, 'client')).toBe('200')

  await mesh.write('strict.yaml', strict(true))
  await mesh.synced()
  expect(await get(mesh, 'outsider', FROM_OUTSIDE)).toMatch(/^E/)
  expect(await greetingFor('outsider')).toBe('hello\n')
  expect(await get(mesh, 'client')).toBe('200')
})
