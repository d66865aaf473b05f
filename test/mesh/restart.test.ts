/** Restarts with drain: the next process listens on the same sockets before the old one goes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestMesh } from '@ambient/mesh/testing'
import { hold, startLoad, startShop } from './shop.ts'

let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({ enrolled: true })
})

afterAll(() => mesh.close())

describe.each(['new', 'keep-alive'] as const)('under load, %s connections', kind => {
  test.each(['client', 'server'])('the ztunnel of the %s is restarted: no request fails', async pod => {
    const { node } = mesh.pod(pod)
    const load = await startLoad(mesh, kind)
    const { pid } = mesh.ztunnel(node)
    await mesh.ztunnel(node).restart()
    const second = mesh.ztunnel(node).pid
    await mesh.ztunnel(node).restart()
    const { sent, failed } = await load.stop()
    expect(failed).toEqual([])
    expect(sent).toBeGreaterThan(100)
    expect(new Set([pid, second, mesh.ztunnel(node).pid]).size).toBe(3)
    expect(mesh.ztunnel(node).restarts).toBe(0)
  })
})

describe('a restart', () => {
  test('leaves present connections to the old process, which ends with the last of them', async () => {
    const { node } = mesh.pod('client')
    const held = await hold(mesh, 'client')
    await expect.poll(held.heard).toBe('hello\n')
    const { pid } = mesh.ztunnel(node)
    await mesh.ztunnel(node).restart()
    held.say('still there')
    await expect.poll(held.heard).toBe('hello\nstill there')
    held.end()
    await expect.poll(() => isAlive(pid)).toBe(false)
    const { adminUrl, statsUrl, readyUrl } = mesh.ztunnel(node)
    for (const url of [`${adminUrl}/config_dump`, `${statsUrl}/metrics`, readyUrl])
      expect((await fetch(url)).status).toBe(200)
  })

  test('endpoints answer all the time', async () => {
    const { node } = mesh.pod('server')
    const { adminUrl, statsUrl, readyUrl } = mesh.ztunnel(node)
    let stopped = false
    const statuses = new Set<number>()
    const asking = (async () => {
      while (!stopped)
        for (const url of [readyUrl, `${adminUrl}/config_dump`, `${statsUrl}/metrics`])
          statuses.add((await fetch(url, { headers: { connection: 'close' } })).status)
    })()
    await mesh.ztunnel(node).restart()
    stopped = true
    await asking
    expect([...statuses].filter(status => status !== 200 && status !== 500)).toEqual([])
  })

  test('after a ztunnel died its callers are refused at once, until it is back', async () => {
    const { node, address } = mesh.pod('server')
    mesh.ztunnel(node).kill('SIGKILL')
    await mesh.event(event => event.kind === 'exited' && !event.asked && event.source.name === node)
    await expect(fetch(`http://${address}:15008`)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
    await expect.poll(() => mesh.ztunnel(node).pid, { timeout: 5_000 }).toBeDefined()
  })
})

function isAlive(pid: number | undefined): boolean {
  try {
    return process.kill(pid ?? 0, 0)
  } catch {
    return false
  }
}
