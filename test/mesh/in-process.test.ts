/** Whole meshes in the process of a test: made and gone in a moment, one for each test, nothing left behind. */
import { createServer, get as httpGet, type Server } from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import type { JoinedWorkload } from '@ambient/mesh'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { namespace, policy } from './shop.ts'

const BUDGET_MS = 10_000
const atBegin = process.cpuUsage()
const atStart = handles()
const meshes: TestMesh[] = []
const servers: Server[] = []

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
  for (const mesh of meshes.splice(0)) await mesh.close()
})

function handles(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter(name => /TCP|Process|Server|Pipe/.test(name))
    .sort()
}

const service = `apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec: { selector: { app: server }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`

interface Pair {
  readonly mesh: TestMesh
  readonly server: JoinedWorkload
  readonly client: JoinedWorkload
}

async function start(options: { enrolled?: boolean; more?: Record<string, string> } = {}): Promise<Pair> {
  const { enrolled = true, more = {} } = options
  const mesh = await startTestMesh({
    inProcess: true,
    manifests: { 'namespace.yaml': namespace(enrolled), 'service.yaml': service, ...more },
  })
  meshes.push(mesh)
  const [server, client] = await Promise.all([
    mesh.join({ namespace: 'shop', serviceAccount: 'server', ports: [8080], labels: { app: 'server' } }),
    mesh.join({ namespace: 'shop', serviceAccount: 'client' }),
  ])
  const http = createServer((request, response) => response.end(`seen ${request.socket.remoteAddress}`))
  servers.push(http)
  await new Promise<void>(resolve => http.listen(8080, server.address, resolve))
  return { mesh, server, client }
}

/** Status and body, or the error's code. */
function ask(client: JoinedWorkload, host = 'server'): Promise<string> {
  return new Promise(resolve => {
    httpGet({ host, agent: client.agent() }, response => {
      let body = ''
      response.on('data', chunk => {
        body += String(chunk)
      })
      response.on('end', () => resolve(`${response.statusCode} ${body}`))
    }).on('error', error => resolve('code' in error ? String(error.code) : error.message))
  })
}

describe('a mesh in a test', () => {
  test.each(Array.from({ length: 12 }, (_, index) => index + 1))(
    'number %i: a call goes through',
    async () => {
      const { client, server } = await start()
      expect(await ask(client)).toBe(`200 seen ${client.address}`)
      expect(server).toMatchObject({ identity: 'spiffe://cluster.local/ns/shop/sa/server', enrolled: true })
    },
  )

  test('it crosses the nodes encrypted', async () => {
    const { mesh, client, server } = await start()
    expect(client.node).not.toBe(server.node)
    const watch = mesh.relay?.watch('seen 127')
    expect(await ask(client)).toMatch(/^200/)
    expect(mesh.relay?.stats().bytes).toBeGreaterThan(1_000)
    expect(watch?.count).toBe(0)
  })

  test('outside of the mesh it does not', async () => {
    const { mesh, client } = await start({ enrolled: false })
    const watch = mesh.relay?.watch('seen 127')
    expect(await ask(client)).toMatch(/^200/)
    expect(watch?.count).toBe(1)
  })

  test('a policy refuses, and a changed one allows', async () => {
    const { mesh, client } = await start({ more: { 'policy.yaml': policy('ALLOW', 'somebody') } })
    expect(await ask(client)).toBe('AMBIENT_E_MESH_CONNECT')
    await mesh.write('policy.yaml', policy('ALLOW', 'client'))
    await mesh.synced()
    expect(await ask(client)).toMatch(/^200/)
  })

  test('a ztunnel that is killed comes back', async () => {
    const { mesh, client } = await start()
    mesh.ztunnel(client.node).kill()
    await mesh.event(event => event.kind === 'exited' && event.source.name === client.node)
    await expect.poll(() => ask(client)).toMatch(/^200/)
    expect(mesh.ztunnel(client.node)).toMatchObject({ restarts: 1, pid: process.pid })
  })

  test('one that is restarted serves at once', async () => {
    const { mesh, client } = await start()
    await mesh.ztunnel(client.node).restart()
    await mesh.synced()
    expect(await ask(client)).toMatch(/^200/)
  })

  test('its log lines are events, its endpoints answer', async () => {
    const { mesh, client } = await start()
    await ask(client)
    await client.leave()
    await mesh.event(event => event.kind === 'output' && event.line.includes('connection complete'))
    const { statsUrl, readyUrl } = mesh.ztunnel('node-a')
    expect((await fetch(readyUrl)).status).toBe(200)
    expect(await (await fetch(`${statsUrl}/metrics`)).text()).toContain('istio_tcp_connections_opened')
  })

  test('two at once do not meet', async () => {
    const [one, two] = await Promise.all([start(), start()])
    expect(one.mesh.cidr).not.toBe(two.mesh.cidr)
    expect(await Promise.all([ask(one.client), ask(two.client)])).toEqual([
      `200 seen ${one.client.address}`,
      `200 seen ${two.client.address}`,
    ])
  })
})

test('all of them together took less than ten seconds of this process, and nothing is left', async () => {
  await expect.poll(handles).toEqual(atStart)
  const { user, system } = process.cpuUsage(atBegin)
  expect((user + system) / 1_000).toBeLessThan(BUDGET_MS)
})
