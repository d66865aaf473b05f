/** A mesh with a waypoint, routes for it, and what is said of them. */
import { expect } from 'vitest'
import { formatProblem } from '@ambient/policy'
import { readManifests, type Resources } from '../../src/index.ts'

/** Without a problem: two services behind the waypoint `wp`, one that opted out, and two subsets. */
export const MESH = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/use-waypoint: wp } }
---
apiVersion: v1
kind: Namespace
metadata: { name: infra }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: istio-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { ports: [{ name: http, port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop }
spec: { ports: [{ name: http, port: 80 }, { name: grpc, port: 81 }] }
---
apiVersion: v1
kind: Service
metadata: { name: free, namespace: shop, labels: { istio.io/use-waypoint: none } }
spec: { ports: [{ name: http, port: 80 }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: api, namespace: shop }
spec: { host: api, subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }] }
`

/** A route that is in order. */
export const TO = 'route: [{ destination: { host: api } }]'
export const BACKEND = 'backendRefs: [{ name: api, port: 80 }]'

/** The first line of `body` is line 6. */
export function virtualService(body: string, hosts = '[web]'): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: shop }
spec:
  hosts: ${hosts}
${body}
`
}

/** One HTTP route, which begins at 7:7. */
export function route(text: string): string {
  return virtualService(`  http:\n    - ${text}`)
}

/** Its only match begins at 7:19. */
export function match(text: string): string {
  return route(`{ match: [{ ${text} }], ${TO} }`)
}

/** Its parent begins at 5:16, its rule at 7:7. */
export function httpRoute(rule: string, parent = '{ group: "", kind: Service, name: web }'): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: shop }
spec:
  parentRefs: [${parent}]
  rules:
    - ${rule}
`
}

/** Its filters begin at 7:59. */
export function filters(text: string): string {
  return httpRoute(`{ ${BACKEND}, filters: [${text}] }`)
}

/** What is said of a text in this mesh; the text is a.yaml. */
export function problemsInMesh(text: string): readonly string[] {
  return read(text).problems.map(formatProblem)
}

/** What a text without problems says, beside the mesh. */
export function resourcesInMesh(text: string): Resources {
  const { resources, problems } = read(text)
  expect(problems.map(formatProblem)).toEqual([])
  return resources
}

function read(text: string) {
  return readManifests([
    { path: 'a.yaml', text },
    { path: 'b.yaml', text: MESH },
  ])
}

/** What it is called, the text, and every line that is said of it. */
export type BadCase = readonly [name: string, text: string, lines: string | readonly string[]]

export function isToldAs(_: string, text: string, lines: BadCase[2]): void {
  expect(problemsInMesh(text)).toEqual(typeof lines === 'string' ? [lines] : lines)
}
