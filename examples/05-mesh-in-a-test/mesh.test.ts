// A whole mesh inside one test file. Callers and servers are objects of the test; the policies are the ones of shop.yaml.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import type { JoinedWorkload } from '@ambient/mesh'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'

const before = handles()
const opened: (() => unknown)[] = []
let mesh: TestMesh
let reader: JoinedWorkload
let editor: JoinedWorkload
let web: JoinedWorkload

beforeAll(async () => {
  const shop = await readFile(new URL('shop.yaml', import.meta.url), 'utf8')
  mesh = await startTestMesh({ inProcess: true, manifests: { 'shop.yaml': shop } })
  opened.push(() => mesh.close())
  const join = (serviceAccount: string, app: string, ports: number[] = []): Promise<JoinedWorkload> =>
    mesh.join({ namespace: 'shop', serviceAccount, labels: { app }, ports })
  ;[reader, editor, web] = [
    await join('reader', 'reader'),
    await join('editor', 'editor'),
    await join('web', 'web', [8080]),
  ]
  const db = await join('db', 'db', [5432])
  await serve(
    http.createServer((request, response) => response.end(`${request.method} ${request.headers.host}`)),
    web,
    8080,
  )
  await serve(
    net.createServer(socket => socket.end('welcome\n')),
    db,
    5432,
  )
  await mesh.synced()
})

afterAll(close)

test('a reader may read', async () => {
  expect(await call(reader, 'GET')).toEqual({ status: 200, body: 'GET web' })
})

test('a reader may not delete: the waypoint says so, in words of Istio', async () => {
  expect(await call(reader, 'DELETE')).toEqual({ status: 403, body: 'RBAC: access denied' })
})

test('an editor may', async () => {
  expect(await call(editor, 'DELETE')).toEqual({ status: 200, body: 'DELETE web' })
})

test('the database is for the web server only: its ztunnel refuses everybody else', async () => {
  const socket = await web.connect('db', 5432)
  const [greeting] = await once(socket, 'data')
  expect(String(greeting)).toBe('welcome\n')
  socket.destroy()
  await expect(reader.connect('db', 5432)).rejects.toThrow('not allowed')
})

test('a policy that changes counts at once', async () => {
  const shop = await readFile(new URL('shop.yaml', import.meta.url), 'utf8')
  await mesh.write('shop.yaml', shop.replace('methods: [GET]', 'methods: [GET, DELETE]'))
  await mesh.synced()
  expect(await call(reader, 'DELETE')).toEqual({ status: 200, body: 'DELETE web' })
})

test('nothing is left of it', async () => {
  await close()
  await expect.poll(handles).toEqual(before)
})

/** Of everything that this file opened; again is nothing. */
async function close(): Promise<void> {
  for (const end of opened.splice(0).reverse()) await end()
}

/** Serves on the workload's own address, as a pod would. */
async function serve(server: net.Server, workload: JoinedWorkload, port: number): Promise<void> {
  server.listen(port, workload.address)
  await once(server, 'listening')
  opened.push(() => server.close())
}

function call(caller: JoinedWorkload, method: string): Promise<{ status?: number; body: string }> {
  return new Promise((resolve, reject) => {
    const agent = caller.agent()
    const request = http.request('http://web/', { agent, method }, response => {
      let body = ''
      response.setEncoding('utf8').on('data', text => {
        body += text
      })
      response.on('end', () => {
        agent.destroy()
        resolve({ status: response.statusCode ?? 0, body })
      })
    })
    request.on('error', reject)
    request.end()
  })
}

/** What keeps a process alive: sockets, listeners, processes. */
function handles(): readonly string[] {
  return process
    .getActiveResourcesInfo()
    .filter(name => /TCP|Server|Process|Watch/.test(name))
    .sort()
}
