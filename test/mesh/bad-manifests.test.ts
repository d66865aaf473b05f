import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatProblem } from '@ambient/mesh'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'
import { deployment, get, policy, service, startShop } from './shop.ts'

let mesh: TestMesh

beforeAll(async () => {
  mesh = await startShop({ enrolled: true })
})

afterAll(() => mesh.close())

const mistakes: readonly [kind: string, text: string, problem: RegExp][] = [
  ['a YAML error', 'kind: [unclosed\n', /^bad\.yaml:\d+:\d+: error: /],
  [
    'an unknown enum',
    policy('ALLOW', 'client').replace('ALLOW', 'PERMIT'),
    /^bad\.yaml:7:11: error: .*PERMIT/,
  ],
  [
    'a wrong type',
    service.replace('port: 80,', 'port: eighty,').replace('name: server', 'name: other'),
    /^bad\.yaml:\d+:\d+: error: .*eighty/,
  ],
  [
    'an unknown field',
    policy('ALLOW', 'client').replace('principals', 'principles'),
    /^bad\.yaml:\d+:\d+: error: .*principles/,
  ],
  ['a duplicate', service, /^bad\.yaml:\d+:\d+: error: .*server/],
  ['a duplicate key', `${service}metadata: {}\n`, /^bad\.yaml:\d+:\d+: error: /],
  [
    'a reference to nothing',
    deployment('lost').replace('serviceAccountName: lost', 'serviceAccountName: nobody'),
    /^bad\.yaml:\d+:\d+: error: .*nobody/,
  ],
]

describe('a bad manifest in a running mesh', () => {
  test.each(mistakes)(
    '%s is file:line:column, and the last good state is served',
    async (_kind, text, wanted) => {
      const generation = mesh.generation
      const pids = mesh.pods.map(pod => pod.pid)
      const event = await mesh.write('bad.yaml', text)
      expect(event).toMatchObject({ kind: 'problems', serving: 'last good configuration' })
      expect(mesh.problems.map(formatProblem).join('\n')).toMatch(wanted)
      expect(await get(mesh, 'client')).toBe('200')
      expect(mesh.generation).toBe(generation)
      expect(mesh.pods.map(pod => pod.pid)).toEqual(pids)
      expect(await mesh.remove('bad.yaml')).toMatchObject({ kind: 'applied' })
      expect(mesh.problems).toEqual([])
    },
  )
})

test('a mesh whose first manifests are bad does not start, and leaves nothing', async () => {
  await expect(startTestMesh({ manifests: { 'bad.yaml': 'kind: [\n' } })).rejects.toMatchObject({
    code: 'AMBIENT_E_MESH_MANIFESTS',
    message: expect.stringMatching(/^bad\.yaml:\d+:\d+: error: /),
  })
})
