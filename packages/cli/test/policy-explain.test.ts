/** `ambient policy explain`: what scripts rely on. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { runCli } from '../src/index.ts'
import { run, testHost } from './host.ts'

const READERS = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  targetRefs: [{kind: Service, group: "", name: web}]
  rules:
  - to: [{operation: {methods: [POST]}}]
  - from: [{source: {principals: [cluster.local/ns/ui/sa/app]}}]
    to: [{operation: {methods: [GET], paths: [/items/*]}}]
`
const NAMESPACE_WIDE = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: from-ui, namespace: shop}
spec:
  rules:
  - from: [{source: {namespaces: [ui]}}]
`
const REQUEST = {
  source: { principal: 'cluster.local/ns/ui/sa/app', ip: '10.0.0.1' },
  destination: { namespace: 'shop', workload: 'web-1', service: 'shop/web', ip: '10.0.0.2', port: 80 },
  http: { method: 'GET', authority: 'web', path: '/items/1?x=y', headers: { 'x-a': ['1', '2'] } },
}

let folder = ''
const file = (name: string): string => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-explain-'))
  await writeFile(file('readers.yaml'), READERS)
  await writeFile(file('from-ui.yaml'), NAMESPACE_WIDE)
  await writeFile(file('request.txt'), JSON.stringify(REQUEST))
  await writeFile(file('requests.txt'), JSON.stringify([REQUEST, { ...REQUEST, source: {} }]))
})

afterAll(() => rm(folder, { recursive: true }))

/** With text on standard input. */
async function piped(input: string, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const given = testHost()
  const stdin = new PassThrough()
  stdin.end(input)
  const code = await runCli(args, { ...given.host, input: stdin })
  return { code, out: given.out(), err: given.err() }
}

const explain = (...args: string[]) => run('policy', 'explain', ...args)

describe('answers', () => {
  it('has the verdict of a waypoint, derived from the destination', async () => {
    const { code, out, err } = await explain(
      ...['-f', folder, '--dialect', 'envoy-http', '--request', file('request.txt'), '-o', 'json'],
    )
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(JSON.parse(out)).toMatchObject({
      verdict: 'allow',
      action: 'ALLOW',
      policy: 'shop/readers',
      rule: 1,
      reason: expect.stringContaining('allowed by: shop/readers rules[1]'),
      dialect: 'envoy-http',
      dryRun: [],
      trace: [
        { policy: 'shop/readers', applies: true, matched: true, attachment: 'Service shop/web' },
        { policy: 'shop/from-ui', applies: false, matched: false, rules: [] },
      ],
    })
  })

  it('has a list for a list, in order, and exits with 0 for a denial', async () => {
    const { code, out } = await explain(
      ...['-f', folder, '--dialect', 'ztunnel', '--request', file('requests.txt'), '-o', 'json'],
    )
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject([
      { verdict: 'allow', action: 'ALLOW', policy: 'shop/from-ui', rule: 0 },
      { verdict: 'deny', action: 'ALLOW', policy: null, rule: null },
    ])
  })

  it('writes a list verdict by verdict: all of them may be more than fits into one text', async () => {
    const texts: string[] = []
    const { host } = testHost()
    const args = ['policy', 'explain', '-f', folder, '--request', file('requests.txt'), '-o', 'json']
    expect(await runCli(args, { ...host, stdout: text => texts.push(text) })).toBe(0)
    expect(texts.map(text => text.split('"verdict"').length - 1)).toEqual([1, 1, 0])
    const whole = texts.join('')
    expect(whole).toBe(`${JSON.stringify(JSON.parse(whole), undefined, 2)}\n`)
    const none = await piped('[]', 'policy', 'explain', '-f', folder, '--request', '-', '-o', 'json')
    expect([none.code, none.out]).toEqual([0, '[]\n'])
    texts.splice(0)
    expect(await runCli([...args.slice(0, -1), 'yaml'], { ...host, stdout: text => texts.push(text) })).toBe(
      0,
    )
    expect(texts.map(text => text.split('- verdict:').length - 1)).toEqual([1, 1])
    expect(parse(texts.join(''))).toEqual(JSON.parse(whole))
    const noYaml = await piped('[]', 'policy', 'explain', '-f', folder, '--request', '-', '-o', 'yaml')
    expect([noYaml.code, noYaml.out]).toEqual([0, '[]\n'])
  })

  it('takes the enforcer before the destination', async () => {
    const sidecar = JSON.stringify({ kind: 'workload', namespace: 'shop' })
    const { out } = await explain(
      ...['-f', file('readers.yaml'), '--dialect', 'envoy-http', '--enforcer', sidecar],
      ...['--request', file('request.txt'), '-o', 'json'],
    )
    expect(JSON.parse(out)).toMatchObject({ verdict: 'allow', action: 'default', policy: null, rule: null })
    expect(JSON.parse(out).reason).toContain('you have none here')
  })

  it('reads what kubectl prints, and a request from options', async () => {
    const items = `{"apiVersion": "v1", "kind": "List", "items": [${JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name: 'none', namespace: 'shop' },
      spec: {},
    })}, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}]}`
    const { code, out } = await piped(
      items,
      ...['policy', 'explain', '-f', '-', '--dialect', 'ztunnel'],
      ...['--from', 'cluster.local/ns/ui/sa/app', '--to', 'shop/web-1:80'],
    )
    expect(code).toBe(0)
    expect(out).toBe(
      [
        'DENY 401: allow policies exist, but none allowed: shop/none',
        'a connection from cluster.local/ns/ui/sa/app to shop/web-1:80, at the ztunnel of shop/web-1',
        'ALLOW shop/none (namespace shop) has no rules, never matches',
        '',
      ].join('\n'),
    )
  })

  it('takes a request from standard input and several files after one -f', async () => {
    const { code, out } = await piped(
      JSON.stringify(REQUEST),
      ...['policy', 'explain', '-f', file('readers.yaml'), file('from-ui.yaml')],
      ...['--dialect', 'envoy-http', '--request', '-', '-o', 'yaml'],
    )
    expect(code).toBe(0)
    expect(out).toMatch(/^verdict: allow\naction: ALLOW\npolicy: shop\/readers\nrule: 1\n/)
  })

  it('goes on past CUSTOM when told that it is allowed', async () => {
    const custom = READERS.replace('spec:', 'spec:\n  action: CUSTOM\n  provider: {name: opa}').replace(
      'from: [{source: {principals: [cluster.local/ns/ui/sa/app]}}]\n    to',
      'to',
    )
    const args = [
      'policy',
      'explain',
      '-f',
      '-',
      '--dialect',
      'envoy-http',
      '--request',
      file('request.txt'),
      '-o',
      'json',
    ]
    expect(JSON.parse((await piped(custom, ...args)).out)).toMatchObject({
      verdict: 'deny',
      action: 'CUSTOM',
      policy: 'shop/readers',
      rule: 1,
      status: 403,
    })
    expect(JSON.parse((await piped(custom, ...args, '--custom', 'allow')).out)).toMatchObject({
      verdict: 'allow',
      action: 'default',
    })
  })

  it('knows the ends of policies when asked as of a time', async () => {
    const ending = NAMESPACE_WIDE.replace(
      'namespace: shop}',
      'namespace: shop, annotations: {ambient.dev/expires: "2026-12-31T18:00:00Z"}}',
    )
    const ask = async (...more: string[]): Promise<string> => {
      const args = ['--from', 'cluster.local/ns/ui/sa/app', '--to', 'shop/web-1:80', '-o', 'json', ...more]
      const { out } = await piped(ending, 'policy', 'explain', '-f', '-', '--dialect', 'ztunnel', ...args)
      return JSON.parse(out).verdict
    }
    expect(await ask()).toBe('allow')
    expect(await ask('--at', '2026-12-31T17:59:59Z')).toBe('allow')
    expect(await ask('--at', '2026-12-31T18:00:00Z')).toBe('deny')
  })

  it('answers a path that the proxy refuses with 400', async () => {
    const { out } = await explain(
      ...['-f', folder, '--dialect', 'envoy-http', '--to', 'shop/web-1:80', '--service', 'shop/web'],
      ...['--path', '/a%00b', '-o', 'json'],
    )
    expect(JSON.parse(out)).toMatchObject({ verdict: 'deny', action: 'default', policy: null, status: 400 })
  })
})

describe('manifests among the files', () => {
  const manifests = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: front}}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: not-ours, namespace: shop}
---
`
  const closed = (name: string, spec: string): string =>
    `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: ${name}, namespace: shop}\nspec: {${spec}}\n`

  it('name the waypoint of the service', async () => {
    const ofFront = 'targetRefs: [{kind: Gateway, name: front, group: gateway.networking.k8s.io}]'
    const { out, err } = await piped(
      manifests + closed('p', ofFront),
      ...['policy', 'explain', '-f', '-', '--dialect', 'envoy-http', '--to', 'shop/web:80'],
      ...['--service', 'shop/web', '--path', '/', '-o', 'json'],
    )
    expect(err).toBe('')
    expect(JSON.parse(out)).toMatchObject({ verdict: 'deny', trace: [{ attachment: 'Gateway shop/front' }] })
  })

  it('have the labels of the workload', async () => {
    const { out } = await piped(
      manifests + closed('p', 'selector: {matchLabels: {app: web}}'),
      ...['policy', 'explain', '-f', '-', '--dialect', 'ztunnel', '--to', 'shop/web:8080', '-o', 'json'],
    )
    expect(JSON.parse(out)).toMatchObject({ verdict: 'deny', trace: [{ attachment: 'selector app=web' }] })
  })
})

describe('mistakes', () => {
  it('are told with their place, each, and exit with 2', async () => {
    await writeFile(file('bad.txt'), READERS.replace('methods', 'method').replace('/items/*', '"/items/{x}"'))
    const { code, out, err } = await explain(
      ...['-f', file('bad.txt'), '--dialect', 'ztunnel', '--to', 'shop/web-1:80'],
    )
    expect({ code, out }).toEqual({ code: 2, out: '' })
    const lines = err.trim().split('\n')
    expect(lines).toHaveLength(2)
    for (const line of lines) expect(line).toMatch(/^.*bad\.txt:\d+:\d+: spec\.rules/)
    expect(lines[0]).toContain(`${file('bad.txt')}:7:23: `)
  })

  it('does not refuse what Istio takes: an empty selector is a warning', async () => {
    const empty = NAMESPACE_WIDE.replace('spec:', 'spec:\n  selector: {}')
    const { code, out, err } = await piped(
      empty,
      ...['policy', 'explain', '-f', '-', '--dialect', 'ztunnel', '--to', 'shop/web-1:80', '-o', 'json'],
    )
    expect(code).toBe(0)
    expect(err).toMatch(/^-:5:\d+: warning: spec\.selector: an empty selector selects no workload/)
    expect(JSON.parse(out)).toMatchObject({ verdict: 'allow', action: 'default' })
    expect(JSON.parse(out).reason).toContain('its selector is empty')
  })

  it.each([
    ['no file', ['--to', 'shop/web-1:80'], /required option '-f, --file <path\.\.\.>' not specified/],
    ['a file that is not there', ['-f', '/nowhere.yaml', '--to', 'a/b:1'], /\/nowhere\.yaml" cannot be read/],
    ['no request', ['-f', 'F'], /--request, or --to/],
    ['both kinds of request', ['-f', 'F', '--to', 'a/b:1', '--request', 'r'], /only one of --request and/],
    ['standard input twice', ['-f', '-', '--request', '-'], /standard input is one thing/],
    ['a destination without port', ['-f', 'F', '--to', 'shop/web'], /--to "shop\/web": expected/],
    [
      'a dialect that is none',
      ['-f', 'F', '--dialect', 'l7', '--to', 'a/b:1'],
      /Allowed choices are ztunnel/,
    ],
    ['a time that is none', ['-f', 'F', '--at', 'soon', '--to', 'a/b:1'], /expected a time such as/],
    [
      'an enforcer that is no JSON',
      ['-f', 'F', '--enforcer', '{', '--to', 'a/b:1'],
      /--enforcer:1:2: not JSON: expected a name in double quotes or "}", found the end/,
    ],
    [
      'a kind of enforcer that is none',
      ['-f', 'F', '--enforcer', '{"kind":"pod"}', '--to', 'a/b:1'],
      /one of workload, waypoint, gateway/,
    ],
    [
      'a request that is none',
      ['-f', 'F', '--request', 'F'],
      /^error: [^\n]*readers\.yaml:1:1: not JSON: expected a value, found "apiVersion" \[/,
    ],
    [
      'nothing for a request',
      ['-f', 'F', '--request', '-'],
      /standard input:1:1: not JSON: expected a value, found the end/,
    ],
  ])('%s: one line, exit 2', async (_, args, wanted) => {
    const given = args.map(arg => (arg === 'F' ? file('readers.yaml') : arg))
    const { code, out, err } = await piped('', 'policy', 'explain', ...given)
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err).toMatch(wanted)
    expect(err.trim().split('\n')).toHaveLength(1)
  })

  it('in a request are told with their path', async () => {
    const { code, err } = await piped(
      JSON.stringify([REQUEST, { ...REQUEST, source: { principle: 'x' } }]),
      ...['policy', 'explain', '-f', folder, '--dialect', 'ztunnel', '--request', '-'],
    )
    expect(code).toBe(2)
    expect(err).toContain('standard input[1].source: unknown field "principle"')
  })
})
