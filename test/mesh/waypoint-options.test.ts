/** What a mesh can be told about its waypoints; all of it in the process of the test. */
import { createServer, get as httpGet, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { JoinedWorkload } from '@ambient/mesh'
import { startTestMesh, type TestMesh, type TestMeshOptions } from '@ambient/mesh/testing'
import { namespace, waypoint } from './shop.ts'

const service = `apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec: { selector: { app: server }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`

const servers: Server[] = []
let mesh: TestMesh

afterEach(async () => {
  await mesh.close()
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
})

async function serve(server: Server, host: string, port: number): Promise<number> {
  servers.push(server)
  await new Promise<void>(resolve => server.listen(port, host, resolve))
  const bound = server.address() as AddressInfo
  return bound.port
}

async function start(
  options: Omit<TestMeshOptions, 'manifests'>,
): Promise<{ server: JoinedWorkload; client: JoinedWorkload }> {
  mesh = await startTestMesh({
    inProcess: true,
    ...options,
    manifests: {
      'namespace.yaml': namespace(true, 'waypoint'),
      'service.yaml': service,
      'waypoint.yaml': waypoint,
    },
  })
  const server = await mesh.join({
    namespace: 'shop',
    serviceAccount: 'server',
    ports: [8080],
    labels: { app: 'server' },
  })
  const client = await mesh.join({ namespace: 'shop', serviceAccount: 'client' })
  const http = createServer((request, response) => response.end(JSON.stringify(request.headers)))
  await serve(http, server.address, 8080)
  return { server, client }
}

function ask(client: JoinedWorkload, host: string, port = 80): Promise<string> {
  return new Promise(resolve => {
    httpGet({ host, port, agent: client.agent() }, response => {
      let body = ''
      response.on('data', chunk => {
        body += String(chunk)
      })
      response.on('end', () => resolve(`${response.statusCode} ${body}`))
    }).on('error', error => resolve('code' in error ? String(error.code) : error.message))
  })
}

describe('a waypoint in the process of the test', () => {
  test('takes what is addressed to the service; around it goes what is addressed to the pod', async () => {
    const { client, server } = await start({})
    expect(mesh.waypoint('shop/waypoint')).toMatchObject({ ready: true, pid: process.pid })
    expect(await ask(client, 'server')).toContain('"x-request-id"')
    expect(await ask(client, server.address, 8080)).not.toContain('x-request-id')
  })

  test('killed it comes back', async () => {
    const { client } = await start({})
    mesh.waypoint('waypoint').kill()
    await mesh.event(event => event.kind === 'exited' && event.source.kind === 'waypoint')
    await expect.poll(() => ask(client, 'server'), { timeout: 5_000 }).toMatch(/^200/)
  })

  test('requireWaypoint: nobody goes around it', async () => {
    const { client, server } = await start({ requireWaypoint: true })
    expect(await ask(client, 'server')).toMatch(/^200/)
    expect(await ask(client, server.address, 8080)).toBe('AMBIENT_E_MESH_CONNECT')
    const { isDenied } = await mesh
      .event(event => event.kind === 'output' && /policy rejection|allow_waypoint/.test(event.line))
      .then(event => ({ isDenied: event.kind === 'output' && event.line.includes('allow') }))
    expect(isDenied).toBe(true)
  })

  test('telemetry: spans go where they are told, sampled as they are told', async () => {
    const posted: string[] = []
    const collector = createServer((request, response) => {
      request.resume().on('end', () => {
        posted.push(`${request.method} ${request.url}`)
        response.end('{}')
      })
    })
    const port = await serve(collector, '127.0.0.1', 0)
    const { client } = await start({ telemetry: { otlpEndpoint: `http://127.0.0.1:${port}`, sampling: 1 } })
    expect(await ask(client, 'server')).toContain('traceparent')
    await mesh.close()
    expect(posted).toContain('POST /v1/traces')
  })

  test('what cannot be is refused at once', async () => {
    await expect(start({ telemetry: { otlpEndpoint: 'collector:4318' } })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_OPTIONS',
      message: 'telemetry.otlpEndpoint must be an http URL',
    })
    await expect(start({ telemetry: { sampling: 2 } })).rejects.toMatchObject({
      message: 'telemetry.sampling must be from 0 to 1',
    })
  })
})
