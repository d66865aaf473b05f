/** Labels, Gateways, policies and rules that name what is not there: what is said, and at which place. */
import { describe, it } from 'vitest'
import { type BadCase, isToldAs } from './support/traffic.ts'

function namespace(labels: string): string {
  return `apiVersion: v1
kind: Namespace
metadata: { name: other, labels: { ${labels} } }
`
}

function service(labels: string): string {
  return `apiVersion: v1
kind: Service
metadata: { name: s, namespace: shop, labels: { ${labels} } }
spec: { ports: [{ port: 80 }] }
`
}

function pod(labels: string): string {
  return `apiVersion: v1
kind: Pod
metadata: { name: p, namespace: shop, labels: { ${labels} } }
spec: { containers: [{ name: c, image: i }] }
`
}

function deployment(labels: string): string {
  return `apiVersion: apps/v1
kind: Deployment
metadata: { name: d, namespace: shop }
spec:
  selector: { matchLabels: { app: d } }
  template:
    metadata: { labels: { app: d, ${labels} } }
    spec: { containers: [{ name: c, image: i }] }
`
}

/** Its listeners begin at 4:55. */
function gateway(listeners: string): string {
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: w, namespace: shop }
spec: { gatewayClassName: istio-waypoint, listeners: [${listeners}] }
`
}

/** Its target begins at 5:16. */
function policy(target: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec:
  targetRefs: [${target}]
  rules: [{ to: [{ operation: { methods: [GET] } }] }]
`
}

function rule(spec: string): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: r, namespace: shop }
spec: ${spec}
`
}

const EDGE = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge, namespace: shop }
spec: { gatewayClassName: nginx, listeners: [{ name: http, port: 80, protocol: HTTP }] }
`

describe('a label that names no waypoint', () => {
  it.each<BadCase>([
    [
      'on a namespace',
      namespace('istio.io/use-waypoint: gone'),
      'a.yaml:3:59: error: metadata.labels."istio.io/use-waypoint": refers to the waypoint (Gateway) other/gone, which is not defined',
    ],
    [
      'on a service',
      service('istio.io/use-waypoint: gone'),
      'a.yaml:3:72: error: metadata.labels."istio.io/use-waypoint": refers to the waypoint (Gateway) shop/gone, which is not defined',
    ],
    [
      'on a pod',
      pod('istio.io/use-waypoint: gone'),
      'a.yaml:3:72: error: metadata.labels."istio.io/use-waypoint": refers to the waypoint (Gateway) shop/gone, which is not defined',
    ],
    [
      'on the pods of a Deployment',
      deployment('istio.io/use-waypoint: gone'),
      'a.yaml:7:58: error: spec.template.metadata.labels."istio.io/use-waypoint": refers to the waypoint (Gateway) shop/gone, which is not defined',
    ],
    [
      'in the wrong namespace',
      namespace('istio.io/use-waypoint: wp'),
      'a.yaml:3:59: error: metadata.labels."istio.io/use-waypoint": refers to the waypoint (Gateway) other/wp, which is not defined; there is shop/wp',
    ],
    [
      'in a namespace that has none',
      service('istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: infra'),
      'a.yaml:3:109: error: metadata.labels."istio.io/use-waypoint-namespace": refers to the waypoint (Gateway) infra/wp, which is not defined; there is shop/wp',
    ],
    [
      'but a gateway of another kind',
      service('istio.io/use-waypoint: edge') + EDGE,
      [
        'a.yaml:3:72: error: metadata.labels."istio.io/use-waypoint": refers to the Gateway shop/edge of class nginx, which is no waypoint: expected istio-waypoint',
        'a.yaml:9:27: warning: spec.gatewayClassName: no gateway of this class is run here: expected istio-waypoint',
      ],
    ],
    [
      'that does not admit the namespace',
      namespace('istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: shop'),
      'a.yaml:3:59: warning: metadata.labels."istio.io/use-waypoint": the waypoint shop/wp does not admit the namespace other (allowedRoutes): it is not used (AttachmentDenied)',
    ],
    [
      'that is for services only',
      pod('istio.io/use-waypoint: wp'),
      'a.yaml:3:72: warning: metadata.labels."istio.io/use-waypoint": the waypoint shop/wp is for service, not for a Pod: it is not used (UnsupportedTrafficType)',
    ],
  ])('%s', isToldAs)
})

describe('a Gateway', () => {
  it.each<BadCase>([
    [
      'of another class',
      `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: w, namespace: shop }
spec: { gatewayClassName: nginx, listeners: [{ name: http, port: 80, protocol: HTTP }] }
`,
      'a.yaml:4:27: warning: spec.gatewayClassName: no gateway of this class is run here: expected istio-waypoint',
    ],
    [
      'with another port',
      gateway('{ name: mesh, port: 15009, protocol: HBONE }'),
      'a.yaml:4:75: error: spec.listeners[0].port: expected 15008, at which a waypoint listens, found 15009',
    ],
    [
      'with another protocol',
      gateway('{ name: mesh, port: 15008, protocol: HTTP }'),
      'a.yaml:4:92: error: spec.listeners[0].protocol: expected HBONE for a waypoint, found "HTTP"',
    ],
    [
      'without a listener',
      gateway(''),
      'a.yaml:4:54: error: spec.listeners: expected a listener { port: 15008, protocol: HBONE }, found none',
    ],
    [
      'with one name for two listeners',
      gateway('{ name: mesh, port: 15008, protocol: HBONE }, { name: mesh, port: 15008, protocol: HBONE }'),
      'a.yaml:4:109: error: spec.listeners[1].name: two listeners have the name "mesh"',
    ],
    [
      'for an unknown kind of traffic',
      `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: w, namespace: shop, labels: { istio.io/waypoint-for: services } }
spec: { gatewayClassName: istio-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`,
      'a.yaml:3:72: error: metadata.labels."istio.io/waypoint-for": expected one of service, workload, all, none (did you mean service?), found the string "services"',
    ],
    [
      'with an unknown field',
      gateway('{ name: mesh, port: 15008, protocl: HBONE }'),
      [
        'a.yaml:4:55: error: spec.listeners[0]: the field "protocol" is required',
        'a.yaml:4:82: error: spec.listeners[0].protocl: unknown field, expected one of name, hostname, port, protocol, tls, allowedRoutes; did you mean "protocol"?',
      ],
    ],
    [
      'that admits namespaces nobody chose',
      gateway(
        '{ name: mesh, port: 15008, protocol: HBONE, allowedRoutes: { namespaces: { from: Selector } } }',
      ),
      'a.yaml:4:128: error: spec.listeners[0].allowedRoutes.namespaces: the field "selector" is required',
    ],
    [
      'that admits in an unknown way',
      gateway('{ name: mesh, port: 15008, protocol: HBONE, allowedRoutes: { namespaces: { from: Some } } }'),
      'a.yaml:4:136: error: spec.listeners[0].allowedRoutes.namespaces.from: expected one of Same, All, Selector, None (did you mean Same?), found the string "Some"',
    ],
    [
      'of a version that does not exist',
      `apiVersion: gateway.networking.k8s.io/v2
kind: Gateway
metadata: { name: w, namespace: shop }
spec: { gatewayClassName: istio-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`,
      'a.yaml:1:13: error: apiVersion: expected one of gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1beta1 (did you mean gateway.networking.k8s.io/v1?), found the string "gateway.networking.k8s.io/v2"',
    ],
    [
      'without a class',
      `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: w, namespace: shop }
spec: { listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`,
      'a.yaml:4:7: error: spec: the field "gatewayClassName" is required',
    ],
  ])('%s', isToldAs)
})

describe('a policy whose target', () => {
  it.each<BadCase>([
    [
      'is a service that does not exist',
      policy('{ group: "", kind: Service, name: gone }'),
      'a.yaml:5:50: error: spec.targetRefs[0].name: refers to the Service shop/gone, which is not defined',
    ],
    [
      'is a service without a waypoint',
      policy('{ group: "", kind: Service, name: free }'),
      'a.yaml:5:16: warning: spec.targetRefs[0]: the Service shop/free has no waypoint: nobody enforces the policy for it',
    ],
    [
      'is a Gateway that does not exist',
      policy('{ group: gateway.networking.k8s.io, kind: Gateway, name: gone }'),
      'a.yaml:5:73: error: spec.targetRefs[0].name: refers to the Gateway shop/gone, which is not defined',
    ],
    [
      'is no waypoint',
      policy('{ group: gateway.networking.k8s.io, kind: Gateway, name: edge }') + EDGE,
      [
        'a.yaml:5:16: warning: spec.targetRefs[0]: the Gateway shop/edge is no waypoint: nobody enforces the policy for it',
        'a.yaml:11:27: warning: spec.gatewayClassName: no gateway of this class is run here: expected istio-waypoint',
      ],
    ],
    [
      'is another class',
      `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: istio-system }
spec:
  targetRefs: [{ group: gateway.networking.k8s.io, kind: GatewayClass, name: nginx }]
  rules: [{ to: [{ operation: { methods: [GET] } }] }]
`,
      'a.yaml:5:16: warning: spec.targetRefs[0]: expected istio-waypoint, the class of waypoints: nobody enforces the policy',
    ],
    [
      'is a class, outside of the root namespace',
      policy('{ group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint }'),
      'a.yaml:5:16: warning: spec.targetRefs[0]: a policy for a class counts in the namespace istio-system only: nobody enforces it',
    ],
    [
      'is in another namespace',
      policy('{ group: "", kind: Service, name: web, namespace: infra }'),
      'a.yaml:5:16: warning: spec.targetRefs[0]: a policy is for targets of its own namespace shop: this one never matches',
    ],
    [
      'is of an unknown kind',
      policy('{ group: "", kind: Pod, name: web }'),
      'a.yaml:5:16: error: spec.targetRefs[0]: expected Service, networking.istio.io/ServiceEntry, gateway.networking.k8s.io/Gateway, gateway.networking.k8s.io/GatewayClass, found "/Pod"',
    ],
  ])('%s', isToldAs)
})

describe('a DestinationRule', () => {
  it.each<BadCase>([
    [
      'for a service that does not exist',
      rule('{ host: gone }'),
      'a.yaml:4:15: warning: spec.host: no service here is called gone.shop.svc.cluster.local: it has no effect',
    ],
    [
      'with a subset twice',
      rule('{ host: web, subsets: [{ name: a }, { name: a }] }'),
      'a.yaml:4:51: error: spec.subsets[1].name: two subsets have the name "a"',
    ],
    [
      'with a bad name',
      rule('{ host: web, subsets: [{ name: V_1 }] }'),
      'a.yaml:4:38: error: spec.subsets[0].name: expected lower case letters, digits and dashes, found "V_1"',
    ],
    [
      'with an unknown field',
      rule('{ host: web, trafficPolicy: { loadBalancr: {} } }'),
      'a.yaml:4:37: error: spec.trafficPolicy.loadBalancr: unknown field, expected one of loadBalancer, connectionPool, outlierDetection, tls, portLevelSettings, tunnel, proxyProtocol, retryBudget; did you mean "loadBalancer"?',
    ],
    [
      'with an unknown balancer',
      rule('{ host: web, trafficPolicy: { loadBalancer: { simple: FASTEST } } }'),
      'a.yaml:4:61: error: spec.trafficPolicy.loadBalancer.simple: expected one of UNSPECIFIED, LEAST_CONN, RANDOM, PASSTHROUGH, ROUND_ROBIN, LEAST_REQUEST, found the string "FASTEST"',
    ],
    [
      'with outlier detection',
      rule('{ host: web, trafficPolicy: { outlierDetection: {} } }'),
      'a.yaml:4:55: warning: spec.trafficPolicy.outlierDetection: is not acted upon',
    ],
    [
      'with a malformed duration',
      rule('{ host: web, trafficPolicy: { connectionPool: { tcp: { connectTimeout: 10 } } } }'),
      'a.yaml:4:78: error: spec.trafficPolicy.connectionPool.tcp.connectTimeout: expected a string, found the number 10',
    ],
    [
      'with a port twice',
      rule(
        '{ host: web, trafficPolicy: { portLevelSettings: [{ port: { number: 80 } }, { port: { number: 80 } }] } }',
      ),
      'a.yaml:4:101: error: spec.trafficPolicy.portLevelSettings[1].port.number: the port 80 is there twice',
    ],
    ['without a host', rule('{ subsets: [] }'), 'a.yaml:4:7: error: spec: the field "host" is required'],
  ])('%s', isToldAs)
})
