/** Programs of this machine as workloads: in the mesh's own process, and over its control socket. */
import { existsSync, statSync } from 'node:fs'
import { createServer, get as httpGet } from 'node:http'
import { dirname } from 'node:path'
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import type { Agent } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectMesh, findMeshes, type MeshClient } from '@ambient/mesh'
import type { TestMesh } from '@ambient/mesh/testing'
import { get, namespace, policy, startShop } from './shop.ts'

let mesh: TestMesh
let client: MeshClient

beforeAll(async () => {
  mesh = await startShop({ enrolled: true, more: { 'c-policy.yaml': policy('ALLOW', 'client', 'web') } })
  client = await connectMesh({ folder: mesh.folder })
})

afterAll(async () => {
  await client.close()
  await mesh.close()
})

/** The status, or the error's code. */
function ask(agent: Agent, host = 'server.shop'): Promise<string> {
  return new Promise(resolve => {
    httpGet({ host, agent }, response => {
      response.resume()
      response.on('end', () => resolve(String(response.statusCode)))
    }).on('error', error => resolve('code' in error ? String(error.code) : error.message))
  })
}

describe('in the process of the mesh', () => {
  test('a workload calls as its service account, and is refused as another', async () => {
    const web = await mesh.join({ namespace: 'shop', serviceAccount: 'web' })
    expect(web).toMatchObject({ enrolled: true, identity: 'spiffe://cluster.local/ns/shop/sa/web' })
    expect(mesh.pods.map(({ name }) => name)).toContain(web.name)
    expect(await ask(web.agent())).toBe('200')
    const stranger = await mesh.join({ namespace: 'shop', serviceAccount: 'stranger', name: 'stranger' })
    expect(await ask(stranger.agent())).toBe('AMBIENT_E_MESH_CONNECT')
    await expect(web.connect('nowhere.shop', 80)).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_CONNECT',
      message: 'nowhere.shop:80: no such host',
    })
    await web.leave()
    await stranger.leave()
    expect(mesh.pods.map(({ name }) => name)).not.toContain('stranger')
  })

  test('the namespace `default` is there, whether or not a manifest names it', async () => {
    const anybody = await mesh.join({ namespace: 'default', serviceAccount: 'default' })
    expect(anybody).toMatchObject({
      enrolled: false,
      identity: 'spiffe://cluster.local/ns/default/sa/default',
    })
    await anybody.leave()
  })

  test('what it serves on its address is called through the mesh; a change of manifests leaves it alone', async () => {
    const backend = await mesh.join({
      namespace: 'shop',
      serviceAccount: 'backend',
      ports: [8080],
      labels: { app: 'backend' },
    })
    const server = createServer((_request, response) => response.end('joined'))
    await new Promise<void>(resolve => server.listen(8080, backend.address, resolve))
    await mesh.write(
      'd-backend.yaml',
      `apiVersion: v1
kind: Service
metadata: { name: backend, namespace: shop }
spec: { selector: { app: backend }, ports: [{ port: 80, targetPort: 8080 }] }
`,
    )
    await mesh.synced()
    expect(await get(mesh, 'client', 'http://backend/')).toBe('200')
    server.close()
    server.closeAllConnections()
    await backend.leave()
    await mesh.remove('d-backend.yaml')
  })

  test('what cannot be is said', async () => {
    await expect(mesh.join({ namespace: 'nope', serviceAccount: 'web' })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_NOT_FOUND',
      message: 'there is no namespace nope; there are: default, shop',
    })
    await expect(mesh.join({ namespace: 'shop', serviceAccount: 'A B' })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_OPTIONS',
    })
    const { name } = mesh.pod('client')
    await expect(mesh.join({ namespace: 'shop', serviceAccount: 'web', name })).rejects.toMatchObject({
      message: `there is a pod shop/${name} already`,
    })
  })
})

describe('over the control socket', () => {
  test('the mesh is found, by its owner alone', async () => {
    const found = (await findMeshes()).find(({ folder }) => folder === mesh.folder)
    expect(found).toMatchObject({ pid: process.pid })
    const path = found?.socketPath ?? ''
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700)
    await expect(connectMesh({ folder: '/nowhere' })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_NOT_RUNNING',
    })
  })

  test('its status: proxies, types, certificates, pods', async () => {
    await client.synced()
    const status = await client.status()
    expect(status).toMatchObject({ folder: mesh.folder, cidr: mesh.cidr, generation: mesh.generation })
    expect(status.proxies.map(({ name, kind, ready }) => [name, kind, ready])).toEqual([
      ['ztunnel-node-a.istio-system', 'ztunnel', true],
      ['ztunnel-node-b.istio-system', 'ztunnel', true],
    ])
    for (const { types, certificates } of status.proxies) {
      expect(types.map(({ state }) => state)).toEqual(['SYNCED', 'SYNCED'])
      expect(certificates[0]).toMatchObject({ state: 'Available', serial: expect.stringMatching(/^[0-9]+$/) })
      expect(certificates[0]?.notAfter).toBeGreaterThan(Date.now())
    }
    expect(status.pods.map(({ ready, enrolled }) => [ready, enrolled])).toEqual([
      [true, true],
      [true, true],
    ])
  })

  test('a program joins with the environment that it is given', async () => {
    const web = await client.join({ namespace: 'shop', serviceAccount: 'web' })
    const program =
      "require('http').get('http://server.shop', r => { r.resume(); console.log(r.statusCode) })"
    const child = spawn(process.execPath, ['-e', program], {
      env: { PATH: process.env['PATH'], ...web.environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    expect(await text(child.stdout)).toBe('200\n')
    const curl = spawn('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', 'http://server.shop/'], {
      env: { PATH: process.env['PATH'], ...web.environment },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    expect(await text(curl.stdout)).toBe('200')
    expect(await ask(web.agent())).toBe('200')
    await web.leave()
    await expect.poll(() => mesh.pods.some(({ name }) => name === web.name)).toBe(false)
  })

  test('who is gone has left', async () => {
    const second = await connectMesh({ folder: mesh.folder })
    const web = await second.join({ namespace: 'shop', serviceAccount: 'web' })
    expect(mesh.pods.some(({ name }) => name === web.name)).toBe(true)
    await second.close()
    await expect.poll(() => mesh.pods.some(({ name }) => name === web.name)).toBe(false)
  })

  test('refusals keep their code', async () => {
    await expect(client.join({ namespace: 'nope', serviceAccount: 'web' })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_NOT_FOUND',
    })
  })

  test('outside the mesh a workload talks in the clear, and is told so', async () => {
    await mesh.remove('c-policy.yaml')
    await mesh.write('namespace.yaml', namespace(false))
    const web = await client.join({ namespace: 'shop', serviceAccount: 'web' })
    expect(web.enrolled).toBe(false)
    expect(await ask(web.agent())).toBe('200')
    await web.leave()
  })

  test('the socket goes with the mesh', async () => {
    const found = (await findMeshes()).find(({ folder }) => folder === mesh.folder)
    const joined = await client.join({ namespace: 'shop', serviceAccount: 'web' })
    await mesh.close()
    expect(existsSync(found?.socketPath ?? '')).toBe(false)
    await joined.leave()
    await expect(client.status()).rejects.toMatchObject({ code: 'AMBIENT_E_MESH_CONTROL' })
    await expect(connectMesh({ folder: mesh.folder })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_NOT_RUNNING',
    })
  })
})
