/** Ports that belong to proxies elsewhere are the application's own; those of the tunnel and the captures are refused. */
import { createServer, type Server } from 'node:net'
import { once } from 'node:events'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import type { JoinedWorkload } from '@ambient/mesh'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { namespace } from './shop.ts'

const FREE = [15000, 15020, 15021, 15090]
const ILLEGAL = [15001, 15006, 15008]
const servers: Server[] = []
let mesh: TestMesh
let server: JoinedWorkload
let client: JoinedWorkload

beforeAll(async () => {
  mesh = await startTestMesh({ inProcess: true, manifests: { 'namespace.yaml': namespace(true) } })
  server = await mesh.join({ namespace: 'shop', serviceAccount: 'server', ports: FREE })
  client = await mesh.join({ namespace: 'shop', serviceAccount: 'client' })
  for (const port of FREE) {
    const app = createServer(socket => socket.on('error', () => {}).end(`app on ${port}`))
    servers.push(app)
    app.listen(port, server.address)
    await once(app, 'listening')
  }
  await mesh.synced()
})

afterAll(async () => {
  for (const app of servers) app.close()
  await mesh.close()
})

describe('an application', () => {
  test.each(FREE)('may listen on %i, and is called there', async port => {
    const socket = await client.connect(server.address, port)
    const [greeting] = await once(socket, 'data')
    expect(String(greeting)).toBe(`app on ${port}`)
    socket.destroy()
  })

  test.each(ILLEGAL)('is not called on %i', async port => {
    await expect(client.connect(server.address, port)).rejects.toThrow()
  })
})
