/** `ambient policy migrate`: the case of istio/istio#57315, and what it should have been. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { run } from './host.ts'

const policy = (namespace: string, from: string, more = ''): string => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: ${namespace}}
spec: {${more}rules: [{from: [{source: {namespaces: [${from}]}}]}]}
`
const app = (namespace: string, name: string, labels: string): string => `---
apiVersion: v1
kind: Namespace
metadata: {name: ${namespace}, labels: {${labels}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec: {containers: [{name: app, image: app, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {selector: {app: ${name}}, ports: [{name: http, port: 80, targetPort: 8080}]}
`
const AMBIENT = 'istio.io/dataplane-mode: ambient'
const MESH = `${app('bookinfo', 'reviews', `${AMBIENT}, istio.io/use-waypoint: waypoint`)}${app('httpbin', 'httpbin', AMBIENT)}---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: bookinfo, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
`
const TARGET = 'targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], '

let folder = ''
const file = (name: string): string => join(folder, name)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-migrate-'))
  await writeFile(file('mesh.yaml'), MESH)
  await writeFile(
    file('policies.yaml'),
    policy('bookinfo', 'bookinfo, httpbin') + policy('httpbin', 'httpbin'),
  )
  await writeFile(
    file('moved.yaml'),
    policy('bookinfo', 'bookinfo, httpbin', TARGET) + policy('httpbin', 'httpbin', TARGET),
  )
})

afterAll(() => rm(folder, { recursive: true }))

const migrate = (...args: string[]) =>
  run('policy', 'migrate', '-f', file('mesh.yaml'), '-f', file('policies.yaml'), ...args)

it('writes policies that are proven alike, and proves them again', async () => {
  const { code, out, err } = await migrate()
  expect([code, err]).toEqual([0, expect.stringMatching(/^proven alike: \d+ ways to workloads\n$/)])
  await writeFile(file('after.yaml'), out)
  expect(await migrate('--after', file('after.yaml'))).toMatchObject({ code: 0, out: '' })
})

it('finds the namespace that is left without its policy', async () => {
  const { code, err } = await migrate('--after', file('moved.yaml'))
  expect(code).toBe(1)
  expect(err).toContain('deny → allow: httpbin/httpbin through the ztunnel')
})

it('moves RequestAuthentications to waypoints, and proves tokens by their rules', async () => {
  const tokens = (name: string, more: string): string => `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ${name}, namespace: bookinfo}
spec: {${more}jwtRules: [{issuer: "https://issuer.example", jwksUri: "https://issuer.example/keys"}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: users, namespace: bookinfo}
spec: {rules: [{from: [{source: {requestPrincipals: ["https://issuer.example/*"]}}]}]}
`
  await writeFile(file('tokens.yaml'), tokens('jwt', 'selector: {matchLabels: {app: reviews}}, '))
  const args = ['policy', 'migrate', '-f', file('mesh.yaml'), '-f', file('tokens.yaml')]
  const { code, out, err } = await run(...args)
  expect([code, err]).toEqual([0, expect.stringMatching(/^proven alike/)])
  const [token = ''] = out.split('---\n')
  expect(token).toContain('kind: RequestAuthentication')
  expect(token).toContain('name: jwt-reviews')
  expect(token).toContain('targetRefs:')
  expect(token).not.toContain('selector')
  await writeFile(file('tokens-after.yaml'), out)
  expect(await run(...args, '--after', file('tokens-after.yaml'))).toMatchObject({ code: 0, out: '' })
  await writeFile(file('other-keys.yaml'), out.replace('issuer.example/keys', 'issuer.example/others'))
  const other = await run(...args, '--after', file('other-keys.yaml'))
  expect(other.code).toBe(1)
  expect(other.err).toContain(
    'undecided: bookinfo/reviews through waypoint bookinfo/waypoint: the rules on tokens are not the same',
  )
})

it('needs to know the workloads: 2', async () => {
  expect((await run('policy', 'migrate', '-f', file('policies.yaml'))).code).toBe(2)
})
