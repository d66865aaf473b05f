/** `ambient policy diff`: what scripts rely on. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from './host.ts'

const policy = (methods: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  targetRefs: [{kind: Service, group: "", name: web}]
  rules:
  - from: [{source: {principals: [cluster.local/ns/ui/sa/app]}}]
    to: [{operation: {methods: [${methods}], paths: [/items/*]}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
`

let folder = ''
const file = (name: string): string => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-diff-'))
  await writeFile(file('one.yaml'), policy('GET'))
  await writeFile(file('same.yaml'), policy('GET, GET'))
  await writeFile(file('two.yaml'), policy('GET, PUT'))
  await writeFile(file('bad.yaml'), policy('GET').replace('targetRefs', 'targetRef'))
})

afterAll(() => rm(folder, { recursive: true }))

const diff = (...args: string[]) => run('policy', 'diff', ...args)

describe('ambient policy diff', () => {
  it('proves that nothing changes: 0', async () => {
    expect(await diff(file('one.yaml'), file('same.yaml'))).toEqual({
      code: 0,
      out: 'no change: proven for every connection and request\n',
      err: '',
    })
  })

  it('shows a change with a request that explain takes: 1', async () => {
    const { code, out, err } = await diff(file('one.yaml'), file('two.yaml'), '-o', 'json')
    expect([code, err]).toEqual([1, ''])
    const { result, changes, undecided } = JSON.parse(out)
    expect([result, undecided, changes.length]).toEqual(['changed', [], 1])
    const [{ dialect, enforcer, witness, before, after }] = changes
    expect([before.verdict, after.verdict, after.policy, after.rule]).toEqual([
      'deny',
      'allow',
      'shop/readers',
      0,
    ])
    await writeFile(file('witness.json'), JSON.stringify(witness))
    const explain = (path: string) =>
      run(
        'policy',
        'explain',
        '-f',
        file(path),
        '--dialect',
        dialect,
        '--enforcer',
        JSON.stringify(enforcer),
        '--request',
        file('witness.json'),
        '-o',
        'json',
      )
    expect(JSON.parse((await explain('one.yaml')).out)).toMatchObject({ verdict: 'deny' })
    expect(JSON.parse((await explain('two.yaml')).out)).toMatchObject({ verdict: 'allow' })
  })

  it('says it in words', async () => {
    const { out } = await diff(
      file('one.yaml'),
      file('two.yaml'),
      '--dialect',
      'envoy-http',
      '--at',
      'waypoint',
    )
    expect(
      out.replace(/^( {2}(before|after): .*?: ).*$/gm, '$1…'),
    ).toBe(`deny → allow: envoy-http at a waypoint
    for service shop/web
    principal cluster.local/ns/ui/sa/app
    method GET, PUT and not method GET
    path /items/*
  before: deny: …
  after:  allow by shop/readers[rule 0]: …
  such as cluster.local/ns/ui/sa/app → shop/web:8080 PUT example.com/items/

1 change
`)
  })

  it('says undecided past its budget, never that nothing changed: 1', async () => {
    const { code, out } = await diff(file('one.yaml'), file('two.yaml'), '--max-steps', '3')
    expect(code).toBe(1)
    expect(out).toContain('undecided: envoy-http at a waypoint: more than 3 steps')
  })

  it('refuses what it cannot read: 2', async () => {
    expect((await diff(file('one.yaml'), file('no.yaml'))).code).toBe(2)
    expect((await diff('-', '-')).code).toBe(2)
    expect((await diff(file('one.yaml'), file('two.yaml'), '--dialect', 'iptables')).code).toBe(2)
    const { code, err } = await diff(file('one.yaml'), file('bad.yaml'))
    expect(code).toBe(2)
    expect(err).toMatch(/bad\.yaml:5:\d+: /)
  })
})
