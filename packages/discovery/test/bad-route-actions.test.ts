/** Bad VirtualServices, what they do and for whom: what is said, and at which place. */
import { describe, it } from 'vitest'
import { type BadCase, isToldAs, TO, virtualService, route } from './support/traffic.ts'

describe('what a route does', () => {
  it.each<BadCase>([
    [
      'an unknown field',
      route(`{ ${TO}, retires: {} }`),
      'a.yaml:7:50: error: spec.http[0].retires: unknown field, expected one of name, match, route, redirect, directResponse, delegate, rewrite, timeout, retries, fault, mirror, mirrors, mirrorPercent, mirrorPercentage, corsPolicy, headers; did you mean "retries"?',
    ],
    [
      'nothing',
      route('{ timeout: 1s }'),
      'a.yaml:7:7: error: spec.http[0]: expected one of route, redirect, directResponse',
    ],
    [
      'a redirect together with a route',
      route(`{ ${TO}, redirect: { uri: /x } }`),
      'a.yaml:7:60: error: spec.http[0].redirect: expected only one of route and redirect',
    ],
    [
      'a redirect with a rewrite',
      route('{ redirect: { uri: /x }, rewrite: { uri: /y } }'),
      'a.yaml:7:41: error: spec.http[0].rewrite: has no place beside redirect',
    ],
    [
      'a redirect with retries and a timeout',
      route('{ redirect: { uri: /x }, retries: { attempts: 2 }, timeout: 1s }'),
      [
        'a.yaml:7:41: warning: spec.http[0].retries: has no place beside redirect',
        'a.yaml:7:67: warning: spec.http[0].timeout: has no place beside redirect',
      ],
    ],
    [
      'a redirect with a code of its own',
      route('{ redirect: { uri: /x, redirectCode: 200 } }'),
      'a.yaml:7:44: error: spec.http[0].redirect.redirectCode: expected one of 301, 302, 303, 307, 308, found 200',
    ],
    [
      'a redirect with nothing',
      route('{ redirect: {} }'),
      'a.yaml:7:19: error: spec.http[0].redirect: expected uri, authority or another field, found none',
    ],
    [
      'a redirect to two ports',
      route('{ redirect: { port: 80, derivePort: FROM_REQUEST_PORT } }'),
      'a.yaml:7:43: error: spec.http[0].redirect.derivePort: expected only one of port and derivePort',
    ],
    [
      'an answer without a status',
      route('{ directResponse: { body: { string: hi } } }'),
      'a.yaml:7:25: error: spec.http[0].directResponse: the field "status" is required',
    ],
    [
      'a delegate',
      route('{ delegate: { name: other } }'),
      'a.yaml:7:19: error: spec.http[0].delegate: delegation is not supported: write the routes of the other VirtualService here',
    ],
    [
      'a prefix to be replaced of an expression',
      route(`{ match: [{ uri: { regex: '/a.*' } }], rewrite: { uri: /b }, ${TO} }`),
      'a.yaml:7:62: error: spec.http[0].rewrite.uri: has no prefix to replace where the path is matched by a regex: use uriRegexRewrite',
    ],
    [
      'a header that cannot be removed',
      route(`{ ${TO}, headers: { request: { remove: [Host] } } }`),
      'a.yaml:7:81: error: spec.http[0].headers.request.remove[0]: the header host cannot be removed',
    ],
    [
      'a header value with a line break',
      route(`{ ${TO}, headers: { response: { set: { x: "a\\nb" } } } }`),
      'a.yaml:7:83: error: spec.http[0].headers.response.set.x: expected text that can stand in a header, found "a\\nb"',
    ],
    [
      'mirror and mirrors',
      route(`{ ${TO}, mirror: { host: api }, mirrors: [] }`),
      'a.yaml:7:82: error: spec.http[0].mirrors: expected only one of mirror and mirrors',
    ],
  ])('%s', isToldAs)
})

describe('durations, shares and retries', () => {
  it.each<BadCase>([
    [
      'a number',
      route(`{ ${TO}, timeout: 5 }`),
      'a.yaml:7:59: error: spec.http[0].timeout: expected a string, found the number 5',
    ],
    [
      'no unit',
      route(`{ ${TO}, timeout: "5" }`),
      'a.yaml:7:59: error: spec.http[0].timeout: expected a duration such as 0.5s, 100ms or 1m30s, found "5"',
    ],
    [
      'a unit that nobody knows',
      route(`{ ${TO}, timeout: 1d }`),
      'a.yaml:7:59: error: spec.http[0].timeout: expected a duration such as 0.5s, 100ms or 1m30s, found "1d"',
    ],
    [
      'less than nothing',
      route(`{ ${TO}, timeout: -1s }`),
      'a.yaml:7:59: error: spec.http[0].timeout: expected a duration such as 0.5s, 100ms or 1m30s, found "-1s"',
    ],
    [
      'more than a day',
      route(`{ ${TO}, timeout: 25h }`),
      'a.yaml:7:59: error: spec.http[0].timeout: expected at most 24h, found "25h"',
    ],
    [
      'parts of a millisecond',
      route(`{ ${TO}, timeout: 0.0001s }`),
      'a.yaml:7:59: error: spec.http[0].timeout: expected whole milliseconds, found "0.0001s"',
    ],
    [
      'a delay of nothing',
      route(`{ ${TO}, fault: { delay: { fixedDelay: 0s, percentage: { value: 1 } } } }`),
      'a.yaml:7:80: error: spec.http[0].fault.delay.fixedDelay: expected at least 1ms, found "0s"',
    ],
    [
      'a delay without a duration',
      route(`{ ${TO}, fault: { delay: { percentage: { value: 1 } } } }`),
      'a.yaml:7:66: error: spec.http[0].fault.delay: the field "fixedDelay" is required',
    ],
    [
      'an exponential delay',
      route(
        `{ ${TO}, fault: { delay: { exponentialDelay: 1s, fixedDelay: 1s, percentage: { value: 1 } } } }`,
      ),
      'a.yaml:7:86: error: spec.http[0].fault.delay.exponentialDelay: is not supported: write fixedDelay',
    ],
    [
      'more than 100 percent',
      route(`{ ${TO}, fault: { delay: { fixedDelay: 1s, percentage: { value: 100.1 } } } }`),
      'a.yaml:7:105: error: spec.http[0].fault.delay.percentage.value: expected a number from 0 to 100, found 100.1',
    ],
    [
      'less than 0 percent',
      route(`{ ${TO}, fault: { abort: { httpStatus: 503, percentage: { value: -0.1 } } } }`),
      'a.yaml:7:106: error: spec.http[0].fault.abort.percentage.value: expected a number from 0 to 100, found -0.1',
    ],
    [
      'a share that is a number',
      route(`{ ${TO}, fault: { abort: { httpStatus: 503, percentage: 10 } } }`),
      'a.yaml:7:97: error: spec.http[0].fault.abort.percentage: expected a map, found the number 10',
    ],
    [
      'a share that is text',
      route(`{ ${TO}, fault: { abort: { httpStatus: 503, percentage: { value: "10" } } } }`),
      'a.yaml:7:106: error: spec.http[0].fault.abort.percentage.value: expected a number from 0 to 100, found "10"',
    ],
    [
      'no share',
      route(`{ ${TO}, fault: { abort: { httpStatus: 503 } } }`),
      'a.yaml:7:66: warning: spec.http[0].fault.abort: has no percentage, so it happens to no request',
    ],
    [
      'an abort with two statuses',
      route(
        `{ ${TO}, fault: { abort: { httpStatus: 503, grpcStatus: UNAVAILABLE, percentage: { value: 1 } } } }`,
      ),
      'a.yaml:7:66: error: spec.http[0].fault.abort: expected exactly one of httpStatus and grpcStatus',
    ],
    [
      'an abort with a status out of range',
      route(`{ ${TO}, fault: { abort: { httpStatus: 999, percentage: { value: 1 } } } }`),
      'a.yaml:7:80: error: spec.http[0].fault.abort.httpStatus: expected an integer from 200 to 599, found the number 999',
    ],
    [
      'an unknown gRPC status',
      route(`{ ${TO}, fault: { abort: { grpcStatus: UNAVAILBLE, percentage: { value: 1 } } } }`),
      'a.yaml:7:80: error: spec.http[0].fault.abort.grpcStatus: expected one of OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED (did you mean UNAVAILABLE?), found the string "UNAVAILBLE"',
    ],
    [
      'a fault of nothing',
      route(`{ ${TO}, fault: {} }`),
      'a.yaml:7:57: error: spec.http[0].fault: expected delay, abort or both',
    ],
    [
      'an unknown condition',
      route(`{ ${TO}, retries: { attempts: 2, retryOn: "5xx,sometimes" } }`),
      'a.yaml:7:83: error: spec.http[0].retries.retryOn: expected 5xx, gateway-error, reset, reset-before-request, connect-failure, envoy-ratelimited, retriable-4xx, refused-stream, retriable-status-codes, retriable-headers, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable or a status code, found "sometimes"',
    ],
    [
      'an empty condition',
      route(`{ ${TO}, retries: { attempts: 2, retryOn: "5xx," } }`),
      'a.yaml:7:83: error: spec.http[0].retries.retryOn: expected 5xx, gateway-error, reset, reset-before-request, connect-failure, envoy-ratelimited, retriable-4xx, refused-stream, retriable-status-codes, retriable-headers, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable or a status code, found ""',
    ],
    [
      'less than no attempts',
      route(`{ ${TO}, retries: { attempts: -1 } }`),
      'a.yaml:7:71: error: spec.http[0].retries.attempts: expected an integer from 0 to 1000, found the number -1',
    ],
    [
      'conditions without attempts',
      route(`{ ${TO}, retries: { attempts: 0, retryOn: 5xx } }`),
      'a.yaml:7:59: warning: spec.http[0].retries: attempts is 0, so there are no retries',
    ],
    [
      'a try without time',
      route(`{ ${TO}, retries: { attempts: 1, perTryTimeout: 0s } }`),
      'a.yaml:7:89: error: spec.http[0].retries.perTryTimeout: expected at least 1ms, found "0s"',
    ],
  ])('%s', isToldAs)
})

describe('hosts', () => {
  it.each<BadCase>([
    [
      'none',
      virtualService(`  http: [{ ${TO} }]`, '[]'),
      'a.yaml:5:10: error: spec.hosts: expected at least one host, found none',
    ],
    [
      'one twice',
      virtualService(`  http: [{ ${TO} }]`, '[web, web.shop.svc.cluster.local]'),
      'a.yaml:5:16: error: spec.hosts[1]: the host web.shop.svc.cluster.local is there twice',
    ],
    [
      'one that is no service',
      virtualService(`  http: [{ ${TO} }]`, '[gone]'),
      'a.yaml:5:11: warning: spec.hosts[0]: no service here is called gone.shop.svc.cluster.local: it has no effect',
    ],
    [
      'one that is not complete',
      virtualService(`  http: [{ ${TO} }]`, '[web.shop]'),
      'a.yaml:5:11: warning: spec.hosts[0]: no service here is called web.shop: it has no effect; did you mean web.shop.svc.cluster.local?',
    ],
    [
      'one that is malformed',
      virtualService(`  http: [{ ${TO} }]`, '["we b"]'),
      'a.yaml:5:11: error: spec.hosts[0]: expected a host, *.DOMAIN or *, found "we b"',
    ],
    [
      'no routes',
      virtualService('  http: []'),
      'a.yaml:6:9: error: spec.http: expected at least one route, found none',
    ],
    [
      'no protocol',
      virtualService('  gateways: [mesh]'),
      'a.yaml:5:3: error: spec: expected http, tcp or both',
    ],
    [
      'another gateway',
      virtualService(`  gateways: [edge]
  http: [{ ${TO} }]`),
      'a.yaml:6:13: warning: spec.gateways: does not apply to mesh: there are no Istio gateways here, so nothing uses it',
    ],
    [
      'TLS',
      virtualService(`  tls: [{ match: [{ sniHosts: [web] }], ${TO} }]`),
      'a.yaml:6:8: warning: spec.tls: TLS routes are not supported: what they match goes to the service itself',
    ],
    [
      'an unknown field',
      virtualService(`  https: [{ ${TO} }]
  http: [{ ${TO} }]`),
      'a.yaml:6:3: error: spec.https: unknown field, expected one of hosts, gateways, http, tls, tcp, exportTo; did you mean "http"?',
    ],
    [
      'a host that another has',
      `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: shop }
spec:
  hosts: [web]
  http: [{ ${TO} }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web2, namespace: shop }
spec:
  hosts: [web]
  http: [{ ${TO} }]
`,
      [
        'a.yaml:5:11: warning: spec.hosts[0]: the VirtualService shop/web2 (a.yaml:8:1) has this host too: a waypoint tries the routes of both, the older first',
        'a.yaml:12:11: warning: spec.hosts[0]: the VirtualService shop/web (a.yaml:1:1) has this host too: a waypoint tries the routes of both, the older first',
      ],
    ],
    [
      'an object of the same name',
      `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: shop }
spec:
  hosts: [web]
  http: [{ ${TO} }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web, namespace: shop }
spec:
  hosts: [api]
  http: [{ ${TO} }]
`,
      'a.yaml:10:19: error: metadata.name: duplicate VirtualService shop/web: it is defined at a.yaml:1:1',
    ],
  ])('%s', isToldAs)
})
