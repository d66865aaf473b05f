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

it('says that no policy has the name that was asked for', async () => {
  const { code, out, err } = await run('policy', 'where', '-f', folder, '--policy', 'shop/servise')
  expect([code, out]).toEqual([2, ''])
  expect(err).toMatch(/--policy "shop\/servise": no policy has this name, expected one of .*, …/)
})

it('is about what the policies name, where nothing is known of the mesh', async () => {
  const { code, out, err } = await run('policy', 'where', '-f', join(folder, 'policies.yaml'))
  expect(err).toContain(
    'no workloads, services or gateways in these files: proxies are those that the policies name',
  )
  expect(code).toBe(1)
  const rows = out.split('\n').map(line => line.split(/ {2,}/))
  expect(rows).toContainEqual([
    'authz',
    'shop/selected',
    'DENY',
    'ztunnel',
    'workload shop/app=web',
    'ztunnel',
    'NO',
    '0 matches nothing',
    'client',
    'selector app=web in namespace shop',
  ])
  expect(rows).toContainEqual([
    'authz',
    'shop/service',
    'ALLOW',
    'waypoint shop/waypoint',
    'Service shop/web',
    'envoy-http',
    'yes',
    'as written',
    'client',
    'Service shop/web',
  ])
  expect(rows).toContainEqual([
    'authz',
    'istio-system/everywhere',
    'DENY',
    'ztunnel',
    'workload */*',
    'ztunnel',
    'yes',
    'as written',
    'client',
    'every namespace',
  ])
})
