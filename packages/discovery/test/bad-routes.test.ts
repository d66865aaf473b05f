/** Mistakes in what a waypoint is told, each with file, line and column. */
import { describe, expect, it } from 'vitest'
import { problemsOf } from './support/manifests.ts'
import { destinationRule, httpRoute, SHOP, virtualService, WAYPOINT } from './support/waypoints.ts'

/** Of the second file; the first is the shop, which has none. */
const found = (text: string): string[] => problemsOf(SHOP, text)
const gateway = (from: string, to: string): string[] => {
  const changed = SHOP.replace(WAYPOINT, '').trimEnd().replace(/---$/, '')
  return problemsOf(changed, WAYPOINT.replace(from, to))
}
const route = (line: string): string => virtualService(`  hosts: [web]\n  http:\n    - ${line}\n`)
const TO_WEB = 'route: [{ destination: { host: web } }]'

describe('the shop with its waypoint', () => {
  it('has no problem', () => expect(problemsOf(SHOP)).toEqual([]))
})

describe('a VirtualService', () => {
  it.each<[what: string, text: string, expected: string | RegExp]>([
    [
      'to a service that is not there',
      route('route: [{ destination: { host: webb } }]'),
      'b.yaml:7:38: error: spec.http[0].route[0].destination.host: refers to the Service shop/webb, which is not defined',
    ],
    [
      'to a short name with a namespace',
      route('route: [{ destination: { host: web.shop } }]'),
      /^b\.yaml:7:38: error: .*did you mean web\.shop\.svc\.cluster\.local\?$/,
    ],
    [
      'to a port that is not there',
      route('route: [{ destination: { host: web, port: { number: 81 } } }]'),
      'b.yaml:7:59: error: spec.http[0].route[0].destination.port.number: the Service shop/web has no port 81 (it has 80)',
    ],
    [
      'to a subset without a rule',
      route('route: [{ destination: { host: web, subset: v9 } }]'),
      /^b\.yaml:7:51: warning: .*no DestinationRule of web\.shop\.svc\.cluster\.local has the subset "v9" .*503 NC$/,
    ],
    [
      'with weights that sum to 0',
      route('route: [{ destination: { host: web } }, { destination: { host: api } }]'),
      'b.yaml:7:14: error: spec.http[0].route: the weights of several destinations sum to 0: nothing could go anywhere',
    ],
    [
      'with an expression that RE2 refuses',
      route(`{ match: [{ uri: { regex: "(?!x)y" } }], ${TO_WEB} }`),
      /^b\.yaml:7:33: error: spec\.http\[0\]\.match\[0\]\.uri\.regex: "\(\?!x\)y" is not a regular expression of RE2: /,
    ],
    [
      'with two forms of a match',
      route(`{ match: [{ uri: { exact: /a, prefix: /b } }], ${TO_WEB} }`),
      /^b\.yaml:7:24: error: .*exactly one of exact, prefix, regex/,
    ],
    [
      'with a share that is no percent',
      route(`{ fault: { abort: { httpStatus: 500, percentage: { value: 101 } } }, ${TO_WEB} }`),
      /^b\.yaml:7:65: error: .*expected a number from 0 to 100, found 101/,
    ],
    [
      'with a fault that never happens',
      route(`{ fault: { delay: { fixedDelay: 5s } }, ${TO_WEB} }`),
      /^b\.yaml:7:25: warning: .*has no percentage/,
    ],
    [
      'with a duration that is none',
      route(`{ timeout: 5, ${TO_WEB} }`),
      'b.yaml:7:18: error: spec.http[0].timeout: expected a string, found the number 5',
    ],
    ['with a duration in words', route(`{ timeout: 5sec, ${TO_WEB} }`), /^b\.yaml:7:18: error: .*duration/],
    [
      'with an unknown retry condition',
      route(`{ retries: { attempts: 2, retryOn: "5xx,gateway-eror" }, ${TO_WEB} }`),
      /^b\.yaml:7:42: error: .*found "gateway-eror"/,
    ],
    [
      'that delegates',
      route('delegate: { name: other }'),
      /^b\.yaml:7:17: error: .*delegation is not supported/,
    ],
    [
      'with two actions',
      route(`{ redirect: { uri: /x }, ${TO_WEB} }`),
      /error: .*only one of route and redirect/,
    ],
    ['with none', route('name: nothing'), /^b\.yaml:7:7: error: .*expected one of route, redirect/],
    [
      'with an unknown field',
      route(`{ rewrit: { uri: /x }, ${TO_WEB} }`),
      /^b\.yaml:7:9: error: .*did you mean "rewrite"\?$/,
    ],
    [
      'that removes the host',
      route(`{ headers: { request: { remove: [Host] } }, ${TO_WEB} }`),
      /^b\.yaml:7:40: error: .*cannot be removed/,
    ],
    [
      'that rewrites the prefix of an expression',
      route(`{ match: [{ uri: { regex: "/a.*" } }], rewrite: { uri: /b }, ${TO_WEB} }`),
      /^b\.yaml:7:62: error: .*uriRegexRewrite/,
    ],
    [
      'with a route that is never reached',
      virtualService(`  hosts: [web]\n  http:\n    - ${TO_WEB}\n    - ${TO_WEB}\n`),
      /^b\.yaml:8:7: warning: .*never reached/,
    ],
    [
      'for gateways only',
      virtualService(`  hosts: [web]\n  gateways: [public]\n  http:\n    - ${TO_WEB}\n`),
      /^b\.yaml:6:13: warning: .*does not apply to mesh/,
    ],
    [
      'with TLS routes',
      virtualService('  hosts: [web]\n  tls: []\n'),
      /^b\.yaml:6:8: warning: .*TLS routes are not supported/,
    ],
    [
      'for a host that nothing has',
      virtualService(`  hosts: [wbe]\n  http:\n    - ${TO_WEB}\n`),
      /^b\.yaml:5:11: warning: spec\.hosts\[0\]: no service here is called wbe\.shop/,
    ],
  ])('%s', (_what, text, expected) => {
    const problems = found(text)
    expect(problems).toHaveLength(1)
    if (typeof expected === 'string') expect(problems[0]).toBe(expected)
    else expect(problems[0]).toMatch(expected)
  })

  it('of every version is read', () => {
    for (const version of ['v1', 'v1beta1', 'v1alpha3'])
      expect(found(virtualService(`  hosts: [web]\n  http:\n    - ${TO_WEB}\n`, version))).toEqual([])
  })

  it('with the host of another is said to be tried after or before it', () => {
    const other = route(TO_WEB).replace('name: web,', 'name: other,')
    const problems = problemsOf(SHOP, `${route(TO_WEB)}---\n${other}`)
    expect(problems).toHaveLength(2)
    expect(problems[0]).toMatch(/^b\.yaml:5:11: warning: .*shop\/other \(b\.yaml:\d+:1\) has this host too/)
  })
})

describe('an HTTPRoute', () => {
  const backend = '      backendRefs: [{ name: web, port: 80 }]\n'
  it.each<[what: string, text: string, expected: string | RegExp]>([
    [
      'to a service that is not there',
      httpRoute('    - backendRefs: [{ name: webb, port: 80 }]\n'),
      'b.yaml:7:29: error: spec.rules[0].backendRefs[0].name: refers to the Service shop/webb, which is not defined',
    ],
    [
      'to a port that is not there',
      httpRoute('    - backendRefs: [{ name: web, port: 81 }]\n'),
      /^b\.yaml:7:40: error: .*has no port 81/,
    ],
    [
      'with weights that sum to 0',
      httpRoute('    - backendRefs: [{ name: web, port: 80, weight: 0 }]\n'),
      /^b\.yaml:7:20: error: .*the weights sum to 0/,
    ],
    [
      'with an unknown filter',
      httpRoute(`    - filters: [{ type: RequestHeaderModifer }]\n${backend}`),
      /^b\.yaml:7:25: error: .*did you mean RequestHeaderModifier/,
    ],
    [
      'with an extension',
      httpRoute(
        `    - filters: [{ type: ExtensionRef, extensionRef: { group: x, kind: y, name: z } }]\n${backend}`,
      ),
      /^b\.yaml:7:25: error: .*ExtensionRef is not supported/,
    ],
    [
      'with authorization elsewhere',
      httpRoute(`    - filters: [{ type: ExternalAuth, externalAuth: {} }]\n${backend}`),
      /^b\.yaml:7:25: error: .*ExternalAuth is not supported/,
    ],
    [
      'with an expression that RE2 refuses',
      httpRoute(`    - matches: [{ path: { type: RegularExpression, value: "(" } }]\n${backend}`),
      /^b\.yaml:7:59: error: .*"\(" is not a regular expression of RE2/,
    ],
    [
      'with a path that no request has',
      httpRoute(`    - matches: [{ path: { value: a//b } }]\n${backend}`),
      /^b\.yaml:7:34: error: .*begins with \//,
    ],
    [
      'with a duration that the Gateway API does not have',
      httpRoute(`    - timeouts: { request: 1.5s }\n${backend}`),
      /^b\.yaml:7:28: error: .*expected a duration/,
    ],
    [
      'with an attempt longer than the whole',
      httpRoute(`    - timeouts: { request: 1s, backendRequest: 2s }\n${backend}`),
      /^b\.yaml:7:48: error: .*longer/,
    ],
    [
      'that redirects and forwards',
      httpRoute(`    - filters: [{ type: RequestRedirect, requestRedirect: {} }]\n${backend}`),
      /^b\.yaml:8:20: error: .*has no backends/,
    ],
    ['to nowhere', httpRoute('    - matches: []\n'), /^b\.yaml:7:7: warning: .*answered 500/],
    [
      'of a service that is not there',
      httpRoute(`    - ${backend.trim()}\n`).replace('kind: Service, name: web', 'kind: Service, name: wbe'),
      /^b\.yaml:5:\d+: error: spec\.parentRefs\[0\]\.name: refers to the Service shop\/wbe, which is not defined/,
    ],
    [
      'of something else',
      httpRoute(`    - ${backend.trim()}\n`).replace('kind: Service,', 'kind: Pod,'),
      /^b\.yaml:5:16: error: .*expected a Service/,
    ],
  ])('%s', (_what, text, expected) => {
    const problems = found(text)
    expect(problems).toHaveLength(1)
    if (typeof expected === 'string') expect(problems[0]).toBe(expected)
    else expect(problems[0]).toMatch(expected)
  })
})

describe('a DestinationRule', () => {
  it.each<[what: string, text: string, expected: RegExp]>([
    [
      'for nobody',
      destinationRule('  host: wbe\n'),
      /^b\.yaml:5:9: warning: spec\.host: no service here is called wbe\.shop/,
    ],
    [
      'with a subset that selects nothing',
      destinationRule('  host: web\n  subsets: [{ name: v9, labels: { version: v9 } }]\n'),
      /^b\.yaml:6:33: warning: .*503 UH$/,
    ],
    [
      'with one subset twice',
      destinationRule('  host: web\n  subsets: [{ name: v1 }, { name: v1 }]\n'),
      /^b\.yaml:6:35: error: .*two subsets/,
    ],
    [
      'with what is not acted upon',
      destinationRule('  host: web\n  trafficPolicy: { outlierDetection: { interval: 1s } }\n'),
      /^b\.yaml:6:38: warning: .*is not acted upon$/,
    ],
    [
      'with an unknown balancer',
      destinationRule('  host: web\n  trafficPolicy: { loadBalancer: { simple: ROUND } }\n'),
      /^b\.yaml:6:44: error: .*expected one of /,
    ],
  ])('%s', (_what, text, expected) => {
    const problems = found(text)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(expected)
  })
})

describe('a waypoint', () => {
  it('in its older forms is the same waypoint, with a warning for each', () => {
    const text = WAYPOINT.replace('k8s.io/v1', 'k8s.io/v1beta1')
      .replace('protocol: HBONE', 'protocol: ALL')
      .replace('namespace: shop }', 'namespace: shop, labels: { istio.io/gateway-name: waypoint } }')
      .concat('  addresses: [{ type: NamedAddress, value: default }]\n')
    const problems = problemsOf(SHOP.replace(WAYPOINT, text))
    expect(problems.map(line => line.replace(/^a\.yaml:\d+:\d+: (\w+): .*?(older form).*/, '$1 $2'))).toEqual(
      Array(4).fill('warning older form'),
    )
  })

  it.each<[what: string, from: string, to: string, expected: RegExp]>([
    ['at another port', '15008', '15009', /^b\.yaml:7:27: error: .*expected 15008/],
    ['of another protocol', 'HBONE', 'HTTP', /^b\.yaml:7:44: error: .*expected HBONE/],
    [
      'for something unknown',
      'namespace: shop }',
      'namespace: shop, labels: { istio.io/waypoint-for: services } }',
      /^b\.yaml:3:\d+: error: .*did you mean service\?/,
    ],
  ])('%s', (_what, from, to, expected) => expect(gateway(from, to)[0]).toMatch(expected))

  it('that nobody defines is said at the label that names it', () => {
    const problems = problemsOf(SHOP.replace('use-waypoint: waypoint', 'use-waypoint: waypiont'))
    expect(problems[0]).toMatch(
      /^a\.yaml:7:28: error: .*refers to the waypoint \(Gateway\) shop\/waypiont, which is not defined$/,
    )
  })

  it('for workloads only is not used by a service that names it', () => {
    const text = SHOP.replace(
      'name: waypoint, namespace: shop }',
      'name: waypoint, namespace: shop, labels: { istio.io/waypoint-for: workload } }',
    ).replace(
      'name: api, namespace: shop }',
      'name: api, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }',
    )
    expect(problemsOf(text)).toEqual([expect.stringMatching(/: warning: .*\(UnsupportedTrafficType\)$/)])
  })
})

describe('the target of a policy', () => {
  const policy = (target: string): string =>
    `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: shop }\nspec:\n  targetRefs: [${target}]\n  rules: [{ to: [{ operation: { methods: [GET] } }] }]\n`

  it('that has a waypoint is nothing to say about', () => {
    expect(found(policy('{ group: "", kind: Service, name: web }'))).toEqual([])
    expect(found(policy('{ group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }'))).toEqual([])
  })

  it('that is not there is an error', () => {
    expect(found(policy('{ group: "", kind: Service, name: wbe }'))).toEqual([
      'b.yaml:5:50: error: spec.targetRefs[0].name: refers to the Service shop/wbe, which is not defined',
    ])
    expect(found(policy('{ group: gateway.networking.k8s.io, kind: Gateway, name: way }'))).toEqual([
      'b.yaml:5:73: error: spec.targetRefs[0].name: refers to the Gateway shop/way, which is not defined',
    ])
  })

  it('without a waypoint is a warning at the reference', () => {
    const bare = SHOP.replace('    istio.io/use-waypoint: waypoint\n', '')
    expect(problemsOf(bare, policy('{ group: "", kind: Service, name: web }'))).toEqual([
      'b.yaml:5:16: warning: spec.targetRefs[0]: the Service shop/web has no waypoint: nobody enforces the policy for it',
    ])
  })

  it('selected by the older label is the waypoint', () => {
    const text = policy('').replace(
      'targetRefs: []',
      'selector: { matchLabels: { istio.io/gateway-name: waypoint } }',
    )
    expect(found(text)).toEqual([expect.stringMatching(/^b\.yaml:5:13: warning: .*older form/)])
  })
})
