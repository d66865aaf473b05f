/** `ambient policy suggest` and `what-if`: from a record to policies, their tests, and back. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { PassThrough } from 'node:stream'
import { runCli } from '../src/index.ts'
import { run, testHost } from './host.ts'

const call = (account: string, method: string, path: string) => ({
  source: { principal: `cluster.local/ns/ui/sa/${account}`, ip: '10.0.0.1' },
  destination: { namespace: 'shop', service: 'shop/web', port: 80 },
  http: { method, authority: 'web', path },
})
const CALLS = [call('a', 'GET', '/items/17'), call('b', 'PUT', '/items/18?x=1'), call('a', 'GET', '/')]
const LOG =
  'info access connection complete src.addr=10.0.0.1:4000 src.identity="spiffe://cluster.local/ns/ui/sa/a" dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:5432 dst.workload="db-1" dst.namespace="data" direction="inbound"\n'

let folder = ''
const file = (name: string): string => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-suggest-'))
  await writeFile(file('calls.jsonl'), CALLS.map(one => JSON.stringify(one)).join('\n'))
  await writeFile(file('ztunnel.log'), LOG)
  await writeFile(
    file('more.jsonl'),
    [...CALLS, call('c', 'GET', '/')].map(one => JSON.stringify(one)).join('\n'),
  )
  await writeFile(file('bad.jsonl'), '{"destination": 3}\n')
})

afterAll(() => rm(folder, { recursive: true }))

it('writes policies and tests that pass, and what-if lets the record through', async () => {
  const out = file('suggested')
  const { code, err } = await run(
    'policy',
    'suggest',
    '--recorded',
    file('calls.jsonl'),
    '--recorded',
    file('ztunnel.log'),
    '--write',
    out,
  )
  expect([code, err]).toEqual([
    0,
    '2 policies; 4 of 4 recorded requests are allowed; 32 of 32 that differ in one field are denied\n',
  ])
  const tests = await run('policy', 'test', out)
  expect([tests.code, tests.err]).toEqual([0, ''])
  const policies = join(out, 'policies.yaml')
  const same = await run('policy', 'what-if', '-f', policies, '--recorded', file('calls.jsonl'))
  expect(same).toEqual({ code: 0, out: '0 of 3 recorded requests would have been denied\n', err: '' })
  const more = await run('policy', 'what-if', '-f', policies, '--recorded', file('more.jsonl'), '-o', 'json')
  expect(more.code).toBe(1)
  expect(JSON.parse(more.out)).toMatchObject({
    recorded: 4,
    allowed: 3,
    denied: 1,
    blocked: [
      {
        count: 1,
        enforcer: { kind: 'waypoint', namespace: 'shop', name: 'waypoint', service: 'shop/web' },
        example: { source: { principal: 'cluster.local/ns/ui/sa/c' } },
      },
    ],
  })
  const told = await run('policy', 'what-if', '-f', policies, '--recorded', file('more.jsonl'))
  expect(told.out).toContain(
    '\n    such as cluster.local/ns/ui/sa/c → shop/web:80 GET web/, at waypoint shop/waypoint\n',
  )
})

it('prints, and makes templates when asked', async () => {
  const { out } = await run(
    'policy',
    'suggest',
    '--recorded',
    file('calls.jsonl'),
    '--path-templates',
    '-o',
    'json',
  )
  const { policies, proof } = JSON.parse(out)
  expect(policies).toHaveLength(1)
  expect(JSON.stringify(policies)).toContain('/items/{*}')
  expect(proof.notAllowed).toEqual([])
  expect((await run('policy', 'suggest', '--recorded', file('calls.jsonl'))).out).toMatch(
    /^apiVersion: security.istio.io\/v1\n/,
  )
})

it('refuses a record that it cannot read: 2', async () => {
  const { code, err } = await run('policy', 'suggest', '--recorded', file('bad.jsonl'))
  expect([code, err]).toEqual([2, expect.stringContaining('bad.jsonl:1')])
  expect((await run('policy', 'suggest', '--recorded', file('none.jsonl'))).code).toBe(2)
})

it('refuses a record of nothing, and what-if says so: there is nothing to prove', async () => {
  const given = testHost()
  const stdin = new PassThrough()
  stdin.end('')
  const code = await runCli(['policy', 'suggest', '--recorded', '-'], { ...given.host, input: stdin })
  expect([code, given.out(), given.err()]).toEqual([
    2,
    '',
    'error: --recorded: no traffic in standard input [AMBIENT_E_CLI_USAGE]\n',
  ])
  await writeFile(file('start.log'), 'info starting\n')
  const passedOver = await run('policy', 'suggest', '--recorded', file('start.log'))
  expect([passedOver.code, passedOver.out, passedOver.err]).toEqual([
    2,
    '',
    `note: ${file('start.log')}: 1 line is no traffic that arrived and was let in
error: --recorded: no traffic in ${file('start.log')} [AMBIENT_E_CLI_USAGE]
`,
  ])
  await writeFile(file('any.yaml'), '')
  const whatIf = await run('policy', 'what-if', '-f', file('any.yaml'), '--recorded', file('start.log'))
  expect(whatIf.code).toBe(0)
  expect(whatIf.err).toContain(`note: --recorded: no traffic in ${file('start.log')}\n`)
})

it('counts one policy as one', async () => {
  const { err } = await run('policy', 'suggest', '--recorded', file('ztunnel.log'))
  expect(err).toMatch(/^1 policy; 1 of 1 recorded/)
})
