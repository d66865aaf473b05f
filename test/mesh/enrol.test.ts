import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestMesh } from '@ambient/mesh/testing'
import { deployment, get, hold, namespace, startShop } from './shop.ts'

let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({ enrolled: false })
})

afterAll(() => mesh.close())

/** A call with a text in it, and how often the relay between the nodes read that text. */
async function watchedCall(): Promise<{ status: string; seen: number; bytes: number }> {
  const watch = mesh.relay?.watch('IN-THE-CLEAR')
  const before = mesh.relay?.stats().bytes ?? 0
  const status = await get(mesh, 'client', 'http://server/IN-THE-CLEAR')
  watch?.stop()
  return { status, seen: watch?.count ?? 0, bytes: (mesh.relay?.stats().bytes ?? 0) - before }
}

const pids = (): string => mesh.pods.map(pod => `${pod.name} ${pod.pid}`).join()

describe('a namespace', () => {
  test('joins while all runs, and leaves: nothing restarts, the wire tells the difference', async () => {
    const before = pids()
    expect(mesh.pod('server').node).not.toBe(mesh.pod('client').node)
    const plain = await watchedCall()
    expect(plain).toMatchObject({ status: '200' })
    expect(plain.seen).toBeGreaterThanOrEqual(1)

    expect(await mesh.write('namespace.yaml', namespace(true))).toMatchObject({
      kind: 'applied',
      started: [],
      ended: [],
      enrolled: [expect.stringMatching('shop/server-'), expect.stringMatching('shop/client-')],
    })
    await mesh.synced()
    const meshed = await watchedCall()
    expect(meshed).toMatchObject({ status: '200', seen: 0 })
    expect(meshed.bytes).toBeGreaterThan(0)

    const held = await hold(mesh, 'client')
    await expect.poll(held.heard).toBe('hello\n')
    expect(await mesh.write('namespace.yaml', namespace(false))).toMatchObject({ enrolled: [], ended: [] })
    await mesh.synced()
    expect((await watchedCall()).seen).toBeGreaterThanOrEqual(1)
    held.say('still there')
    await expect.poll(held.heard).toBe('hello\nstill there')
    expect(pids()).toBe(before)
  })

  test('a program that connects at once, in the mesh from its first byte', async () => {
    await mesh.write('namespace.yaml', namespace(true))
    const program =
      "require('node:http').get('http://server/', r => { console.log('first ' + r.statusCode); r.resume() }); setInterval(() => {}, 1000)"
    await mesh.write('c-eager.yaml', deployment('eager', { program }))
    const line = await mesh.event(
      event => event.kind === 'output' && event.source.name.startsWith('shop/eager-'),
    )
    expect(line).toMatchObject({ line: 'first 200' })
    await mesh.remove('c-eager.yaml')
  })

  test('a job does its work in the mesh and ends by itself; it is not started again', async () => {
    const program =
      "require('node:http').get('http://server/', r => { r.resume(); r.on('end', () => console.log('last ' + r.statusCode)) })"
    await mesh.write(
      'd-job.yaml',
      `apiVersion: v1
kind: Pod
metadata: { name: job, namespace: shop }
spec:
  restartPolicy: Never
  containers: [{ name: main, image: none, command: [node, -e, ${JSON.stringify(program)}] }]
`,
    )
    const exit = await mesh.event(event => event.kind === 'exited' && event.source.name === 'shop/job')
    expect(exit).toMatchObject({ code: 0, asked: false })
    expect(exit).not.toHaveProperty('restartInMs')
    const line = await mesh.event(event => event.kind === 'output' && event.source.name === 'shop/job')
    expect(line).toMatchObject({ line: 'last 200' })
    expect(mesh.pod('job')).toMatchObject({ pid: undefined, ready: false, restarts: 0 })
    await mesh.remove('d-job.yaml')
  })

  test('an identity per workload, also on one node', async () => {
    const dump = await (await fetch(`${mesh.ztunnel('node-a').adminUrl}/config_dump`)).text()
    expect(dump).toContain('spiffe://cluster.local/ns/shop/sa/server')
  })
})
