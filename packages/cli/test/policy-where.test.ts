/** `ambient policy where`: each kind of attachment at each kind of proxy. */
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { run } from './host.ts'

const folder = fileURLToPath(new URL('where', import.meta.url))

it('says of each policy which proxy enforces it, what is lost there and whom it sees', async () => {
  const { code, out, err } = await run('policy', 'where', '-f', folder)
  expect(err).toBe('')
  expect(code).toBe(1)
  await expect(out).toMatchFileSnapshot(join(folder, 'expected.txt'))
})

it('has the same facts as JSON, of one policy when asked', async () => {
  const { code, out } = await run('policy', 'where', '-f', folder, '--policy', 'shop/service', '-o', 'json')
  expect(code).toBe(0)
  expect(JSON.parse(out)).toEqual({
    rows: [
      {
        kind: 'AuthorizationPolicy',
        policy: 'shop/service',
        action: 'ALLOW',
        dryRun: false,
        point: { proxy: 'waypoint', name: 'shop/waypoint', traffic: 'Service shop/web:80' },
        sees: { caller: 'client', identities: [] },
        dialect: 'envoy-http',
        enforced: true,
        rules: [{ rule: 0, effect: 'as-written', unseen: [] }],
        reason: 'Service shop/web',
      },
      {
        kind: 'AuthorizationPolicy',
        policy: 'shop/service',
        action: 'ALLOW',
        dryRun: false,
        point: { proxy: 'waypoint', name: 'shop/waypoint', traffic: 'Service shop/web:9000' },
        sees: { caller: 'client', identities: [] },
        dialect: 'envoy-tcp',
        enforced: true,
        rules: [{ rule: 0, effect: 'dropped', unseen: ['to[0].operation.methods'] }],
        reason: 'Service shop/web',
      },
    ],
  })
})

it('asks for manifests that say what the mesh has', async () => {
  const { code, err } = await run('policy', 'where', '-f', join(folder, 'policies.yaml'))
  expect([code, err]).toEqual([2, expect.stringContaining('no workloads, services or gateways')])
})
