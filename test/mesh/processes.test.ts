import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listen } from '@ambient/core/node'
import type { MeshPod } from '@ambient/mesh'
import type { TestMesh } from '@ambient/mesh/testing'
import { deployment, get, run, startShop } from './shop.ts'

let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({ enrolled: true })
})

afterAll(() => mesh.close())

const others = (not: string): (number | undefined)[] =>
  mesh.pods.filter(pod => pod.workload !== not).map(pod => pod.pid)
const ready = (pod: string): Promise<unknown> =>
  mesh.event(event => event.kind === 'pod-ready' && event.ready && event.pod.startsWith(`shop/${pod}`))

describe('processes', () => {
  test('a ztunnel that is killed comes back, said so; no app notices in its process', async () => {
    const before = mesh.pods.map(pod => pod.pid)
    const { node } = mesh.pod('server')
    const { pid } = mesh.ztunnel(node)
    mesh.ztunnel(node).kill('SIGKILL')
    expect(await mesh.event(event => event.kind === 'exited' && event.source.name === node)).toMatchObject({
      signal: 'SIGKILL',
      restartInMs: 250,
    })
    await expect.poll(() => get(mesh, 'client'), { timeout: 10_000 }).toBe('200')
    expect(mesh.ztunnel(node).pid).not.toBe(pid)
    expect(mesh.pods.map(pod => pod.pid)).toEqual(before)
  })

  test('an app that is killed comes back on its address; the others stay', async () => {
    const before = mesh.pod('server')
    const rest = others('server')
    before.kill()
    await expect.poll(() => mesh.pod('server').ready).toBe(false)
    await expect.poll(() => mesh.pod('server').ready, { timeout: 5_000 }).toBe(true)
    await mesh.synced()
    const after = mesh.pod('server')
    expect(after).toMatchObject({ name: before.name, address: before.address, restarts: 1 })
    expect(after.pid).not.toBe(before.pid)
    expect(others('server')).toEqual(rest)
    expect(await get(mesh, 'client')).toBe('200')
  })

  test('a changed template replaces its pods only; equal ones stay', async () => {
    const [before, rest] = [mesh.pod('client'), others('client')]
    await mesh.write('b-client.yaml', deployment('client', { env: 'two' }))
    await mesh.event(event => event.kind === 'pod-removed' && event.pod === `shop/${before.name}`)
    expect(mesh.pod('client').name).not.toBe(before.name)
    expect((await run(mesh, 'client', 'console.log(process.env.SETTING)')).stdout).toBe('two\n')
    expect(others('client')).toEqual(rest)
  })

  test('replicas come and go, spread over the nodes', async () => {
    const rest = others('client')
    const [first] = mesh.pods.filter(pod => pod.workload === 'client')
    const clients = (): readonly MeshPod[] => mesh.pods.filter(pod => pod.workload === 'client')
    await mesh.write('b-client.yaml', deployment('client', { env: 'two', replicas: 2 }))
    await expect.poll(() => clients().filter(pod => pod.ready).length).toBe(2)
    expect(new Set(clients().map(pod => pod.node)).size).toBe(2)
    expect(clients().map(pod => pod.pid)).toContain(first?.pid)
    await mesh.write('b-client.yaml', deployment('client', { env: 'two' }))
    await expect.poll(() => clients().length).toBe(1)
    expect(others('client')).toEqual(rest)
  })

  test('a command runs as the pod: its variables, its address, its input', async () => {
    const execution = await mesh.exec('shop/client', ['cat'], { stdin: 'through' })
    expect(await execution.result()).toMatchObject({ code: 0, stdout: 'through' })
    const { stdout } = await run(mesh, 'client', 'console.log(process.env.AMBIENT_CAPTURE_ADDRESS)')
    expect(stdout.trim()).toBe(mesh.pod('client').address)
    await expect(mesh.exec('nobody', ['true'])).rejects.toMatchObject({ code: 'AMBIENT_E_MESH_NOT_FOUND' })
  })

  test('a program whose port is taken is not started in vain: the holder is named', async () => {
    const holder = await listen({ host: '0.0.0.0', port: 8123, onConnection: socket => socket.destroy() })
    const text = deployment('blocked', { program: 'server.mjs' }).replaceAll('8080', '8123')
    await mesh.write('d-blocked.yaml', text)
    const blocked = await mesh.event(
      candidate => candidate.kind === 'exited' && candidate.source.name.startsWith('shop/blocked-'),
    )
    expect(blocked).toMatchObject({
      failure: expect.stringMatching(new RegExp(`^port 8123 on .* is in use by .*\\(pid ${process.pid}\\)$`)),
    })
    await holder.close()
    await ready('blocked')
    await mesh.remove('d-blocked.yaml')
  })
})

test('after close nothing is left: no process, no file', async () => {
  const pids = mesh.events.flatMap(event => (event.kind === 'started' ? [event.pid] : []))
  expect(pids.length).toBeGreaterThan(4)
  await mesh.close()
  expect(pids.filter(isAlive)).toEqual([])
  expect(readdirSync(tmpdir()).filter(name => mesh.folder.endsWith(name))).toEqual([])
  await mesh.close()
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
