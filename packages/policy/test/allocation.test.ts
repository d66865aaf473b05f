/** A decision makes next to no garbage once it was made before: measured on the heap, in a process that collects on demand. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))

/**
 * Bytes of a decision that are the measurement's own, and the engine's while it still compiles. The engines of Node 22 and 24
 * leave some of their own (22 at a ztunnel, 59 and 116 at a waypoint), which those of 20 and 26 do not.
 */
const TOLERANCE_BYTES = ['22', '24'].includes(process.versions.node.split('.')[0] ?? '') ? 160 : 16

const PROGRAM = `
import { createPolicyStore, createWaypointPolicies, decide, parsePolicies, toAuthorization } from '@ambient/policy'
import { parseSpiffeId } from '@ambient/core'
let TO = ''
const rule = i => '  - from: [{source: {principals: [td/ns/n/sa/a' + i + ']}}, {source: {ipBlocks: [10.0.0.' + i + ']}}]' + TO
const yaml = action => \`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p-\${action.toLowerCase()}, namespace: shop}
spec:
  action: \${action}
  TARGET
  rules:
\` + Array.from({ length: 20 }, (_, i) => rule(i + (action === 'DENY' ? 100 : 0))).join('\\n')
const read = target => parsePolicies(
  ['ALLOW', 'DENY'].map(action => yaml(action).replace('TARGET', target)).join('\\n---\\n'), 'p.yaml').authorizationPolicies
const workload = { uid: 'w', name: 'w', namespace: 'shop', authorizationPolicies: [] }
const call = (account, address) => ({
  id: '0', direction: 'inbound',
  source: { address, port: 1, identity: parseSpiffeId('spiffe://td/ns/n/sa/' + account) },
  destination: { address: '10.1.0.1', port: 80, network: '', workload },
})
const calls = [call('a3', '10.9.0.1'), call('a103', '10.9.0.2'), call('x', '10.0.0.7'), call('x', '10.9.0.3')]
const http = calls.map(connection => ({ connection, method: 'GET', path: '/a/b', authority: 'web', header: () => [] }))
const store = createPolicyStore(read('').map(one => toAuthorization(one, { rootNamespace: 'root' }).authorization))
TO = '\\n    to: [{operation: {hosts: [web, "*.web"], paths: [/x, "/a/*"], methods: [GET]}}]'
const set = createWaypointPolicies(read('targetRefs: [{group: "", kind: Service, name: web}]'), { rootNamespace: 'root', trustDomain: 'td' })
const target = { gateway: { namespace: 'shop', name: 'g', className: 'istio-waypoint' }, service: { namespace: 'shop', name: 'web', hostname: 'web' } }
const verdicts = {
  l4: calls.map(one => decide(store.policies, one).allowed),
  http: http.map(one => set.decideRequest(target, one).allowed),
}
const COUNT = 100_000
const bytes = judge => {
  // Least of several: whatever else happens in the process only adds.
  let least = Infinity
  for (let round = 0; round < 6; round++) {
    globalThis.gc()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < COUNT; i++) judge(i & 3)
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / COUNT)
  }
  return least
}
const l4 = bytes(i => decide(store.policies, calls[i]))
const waypoint = bytes(i => set.decideRequest(target, http[i]))
console.log(JSON.stringify({ verdicts, l4, waypoint }))
`

describe('a decision', () => {
  let folder = ''
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ambient-allocation-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('leaves nothing of its own, at a ztunnel and at a waypoint', async () => {
    const file = join(folder, 'measure.mjs')
    const { outputFiles } = await build({
      stdin: { contents: PROGRAM, resolveDir: path('..') },
      alias: {
        '@ambient/policy': path('../src/index.ts'),
        '@ambient/core': path('../../core/src/index.ts'),
      },
      bundle: true,
      platform: 'node',
      format: 'esm',
      write: false,
      banner: {
        js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)",
      },
    })
    await writeFile(file, outputFiles[0]?.text ?? '')
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--expose-gc',
      '--min-semi-space-size=64',
      '--max-semi-space-size=64',
      file,
    ])
    const { verdicts, l4, waypoint } = JSON.parse(stdout)
    const expected = [true, false, true, false]
    expect(verdicts).toEqual({ l4: expected, http: expected })
    expect({ l4: l4 < TOLERANCE_BYTES, waypoint: waypoint < TOLERANCE_BYTES, found: [l4, waypoint] }).toEqual(
      {
        l4: true,
        waypoint: true,
        found: [l4, waypoint],
      },
    )
  }, 60_000)
})
