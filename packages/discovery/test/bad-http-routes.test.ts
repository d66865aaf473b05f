/** Bad HTTPRoutes: what is said, and at which place. */
import { describe, it } from 'vitest'
import { type BadCase, isToldAs, BACKEND, httpRoute, filters } from './support/traffic.ts'

describe('parents', () => {
  it.each<BadCase>([
    [
      'a service that does not exist',
      httpRoute(`{ ${BACKEND} }`, '{ group: "", kind: Service, name: gone }'),
      'a.yaml:5:50: error: spec.parentRefs[0].name: refers to the Service shop/gone, which is not defined',
    ],
    [
      'a port that does not exist',
      httpRoute(`{ ${BACKEND} }`, '{ group: "", kind: Service, name: web, port: 81 }'),
      'a.yaml:5:61: error: spec.parentRefs[0].port: the Service shop/web has no port 81 (it has 80)',
    ],
    [
      'a service without a waypoint',
      httpRoute(`{ ${BACKEND} }`, '{ group: "", kind: Service, name: free }'),
      'a.yaml:5:16: warning: spec.parentRefs[0]: the Service shop/free has no waypoint: nobody takes this route',
    ],
    [
      'a service of another namespace',
      `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: infra }
spec:
  parentRefs: [{ group: "", kind: Service, name: web, namespace: shop }]
  rules:
    - { backendRefs: [{ name: api, namespace: shop, port: 80 }] }
`,
      'a.yaml:5:66: warning: spec.parentRefs[0].namespace: a waypoint takes only routes of the namespace of its service, or of its own',
    ],
    [
      'a Gateway that does not exist',
      httpRoute(`{ ${BACKEND} }`, '{ name: gone }'),
      'a.yaml:5:24: error: spec.parentRefs[0].name: refers to the Gateway shop/gone, which is not defined',
    ],
    [
      'a kind that cannot be one',
      httpRoute(`{ ${BACKEND} }`, '{ group: apps, kind: Deployment, name: web }'),
      'a.yaml:5:16: error: spec.parentRefs[0]: expected a Service (group ""), a ServiceEntry (networking.istio.io) or a Gateway (gateway.networking.k8s.io), found "apps/Deployment"',
    ],
    [
      'a ServiceEntry',
      httpRoute(`{ ${BACKEND} }`, '{ group: networking.istio.io, kind: ServiceEntry, name: ext }'),
      'a.yaml:5:52: warning: spec.parentRefs[0].kind: a ServiceEntry is not acted upon here: nothing takes this route',
    ],
    [
      'none',
      `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: shop }
spec:
  rules:
    - { ${BACKEND} }
`,
      'a.yaml:5:3: warning: spec: names no parentRefs: nothing takes this route',
    ],
    [
      'no name',
      httpRoute(`{ ${BACKEND} }`, '{ group: "", kind: Service }'),
      'a.yaml:5:16: error: spec.parentRefs[0]: the field "name" is required',
    ],
  ])('%s', isToldAs)
})

describe('backends', () => {
  it.each<BadCase>([
    [
      'a service that does not exist',
      httpRoute('backendRefs: [{ name: gone, port: 80 }]'),
      'a.yaml:7:29: error: spec.rules[0].backendRefs[0].name: refers to the Service shop/gone, which is not defined',
    ],
    [
      'a port that does not exist',
      httpRoute('backendRefs: [{ name: api, port: 8080 }]'),
      'a.yaml:7:40: error: spec.rules[0].backendRefs[0].port: the Service shop/api has no port 8080 (it has 80, 81)',
    ],
    [
      'no port',
      httpRoute('backendRefs: [{ name: api }]'),
      'a.yaml:7:21: error: spec.rules[0].backendRefs[0]: the field "port" is required',
    ],
    [
      'a kind that cannot be one',
      httpRoute('backendRefs: [{ kind: Pod, name: api, port: 80 }]'),
      'a.yaml:7:21: error: spec.rules[0].backendRefs[0]: expected a Service (group "") or a Hostname (networking.istio.io), found "/Pod"',
    ],
    [
      'weights that sum to 0',
      httpRoute('backendRefs: [{ name: api, port: 80, weight: 0 }, { name: web, port: 80, weight: 0 }]'),
      'a.yaml:7:20: error: spec.rules[0].backendRefs: the weights sum to 0: no request could go anywhere',
    ],
    [
      'a weight out of range',
      httpRoute('backendRefs: [{ name: api, port: 80, weight: 1000001 }]'),
      'a.yaml:7:52: error: spec.rules[0].backendRefs[0].weight: expected an integer from 0 to 1000000, found the number 1000001',
    ],
    [
      'none',
      httpRoute('{ matches: [{ path: { value: /a } }] }'),
      'a.yaml:7:7: warning: spec.rules[0]: has no backendRefs: every request is answered 500',
    ],
    [
      'a mirror to a service that does not exist',
      filters('{ type: RequestMirror, requestMirror: { backendRef: { name: gone, port: 80 } } }'),
      'a.yaml:7:119: error: spec.rules[0].filters[0].requestMirror.backendRef.name: refers to the Service shop/gone, which is not defined',
    ],
    [
      'a redirect together with backends',
      filters('{ type: RequestRedirect, requestRedirect: { hostname: example.com } }'),
      'a.yaml:7:22: error: spec.rules[0].backendRefs: a rule that redirects has no backends',
    ],
  ])('%s', isToldAs)
})

describe('filters', () => {
  it.each<BadCase>([
    [
      'an unknown type',
      filters('{ type: RequestHeaderModifer }'),
      'a.yaml:7:67: error: spec.rules[0].filters[0].type: expected one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS, ExtensionRef, ExternalAuth (did you mean RequestHeaderModifier?), found the string "RequestHeaderModifer"',
    ],
    [
      'an extension',
      filters('{ type: ExtensionRef, extensionRef: { group: a, kind: B, name: c } }'),
      'a.yaml:7:67: error: spec.rules[0].filters[0].type: ExtensionRef is not supported by a waypoint: leave it out',
    ],
    [
      'external authorization',
      filters('{ type: ExternalAuth }'),
      'a.yaml:7:67: error: spec.rules[0].filters[0].type: ExternalAuth is not supported by a waypoint: leave it out',
    ],
    [
      'no type',
      filters('{ requestHeaderModifier: {} }'),
      'a.yaml:7:59: error: spec.rules[0].filters[0]: the field "type" is required',
    ],
    [
      'a type without its field',
      filters('{ type: URLRewrite }'),
      'a.yaml:7:59: error: spec.rules[0].filters[0]: the field "urlRewrite" is required',
    ],
    [
      'a type twice',
      filters('{ type: CORS, cors: {} }, { type: CORS, cors: {} }'),
      'a.yaml:7:93: error: spec.rules[0].filters[1].type: CORS is there twice',
    ],
    [
      'an unknown field',
      filters('{ type: URLRewrite, urlRewrite: { host: a } }'),
      'a.yaml:7:93: error: spec.rules[0].filters[0].urlRewrite.host: unknown field, expected one of hostname, path',
    ],
    [
      'a redirect and a rewrite',
      httpRoute(
        '{ filters: [{ type: RequestRedirect, requestRedirect: { port: 81 } }, { type: URLRewrite, urlRewrite: { hostname: a.b } }] }',
      ),
      'a.yaml:7:18: error: spec.rules[0].filters: RequestRedirect and URLRewrite exclude each other',
    ],
    [
      'a redirect with another code',
      httpRoute('{ filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 200 } }] }'),
      'a.yaml:7:75: error: spec.rules[0].filters[0].requestRedirect.statusCode: expected one of 301, 302, 303, 307, 308, found 200',
    ],
    [
      'a prefix to be replaced where there is none',
      httpRoute(
        `{ matches: [{ path: { type: Exact, value: /a } }], filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /b } } }], ${BACKEND} }`,
      ),
      'a.yaml:7:67: error: spec.rules[0].filters: ReplacePrefixMatch needs every match of the rule to be a PathPrefix',
    ],
    [
      'a path with the field of another type',
      filters(
        '{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: /a, replacePrefixMatch: /b } } }',
      ),
      'a.yaml:7:165: error: spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: expected with type ReplaceFullPath only replaceFullPath',
    ],
    [
      'a header twice',
      filters(
        '{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X, value: a }, { name: x, value: b }] } }',
      ),
      'a.yaml:7:152: error: spec.rules[0].filters[0].requestHeaderModifier.set[1].name: the header x is there twice',
    ],
    [
      'percent and fraction',
      filters(
        '{ type: RequestMirror, requestMirror: { backendRef: { name: api, port: 80 }, percent: 5, fraction: { numerator: 1 } } }',
      ),
      'a.yaml:7:97: error: spec.rules[0].filters[0].requestMirror: expected only one of percent and fraction',
    ],
    [
      'more than everything',
      filters(
        '{ type: RequestMirror, requestMirror: { backendRef: { name: api, port: 80 }, percent: 101 } }',
      ),
      'a.yaml:7:145: error: spec.rules[0].filters[0].requestMirror.percent: expected an integer from 0 to 100, found the number 101',
    ],
    [
      'a fraction above one',
      filters(
        '{ type: RequestMirror, requestMirror: { backendRef: { name: api, port: 80 }, fraction: { numerator: 3, denominator: 2 } } }',
      ),
      'a.yaml:7:146: error: spec.rules[0].filters[0].requestMirror.fraction: the numerator cannot be greater than the denominator',
    ],
    [
      'a mirror for one backend',
      httpRoute(
        'backendRefs: [{ name: api, port: 80, filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: web, port: 80 } } }] }]',
      ),
      'a.yaml:7:62: error: spec.rules[0].backendRefs[0].filters[0].type: RequestMirror is not supported for a single backend: write it for the rule',
    ],
  ])('%s', isToldAs)
})

describe('matches', () => {
  it.each<BadCase>([
    [
      'a lookahead in a path',
      httpRoute(`{ matches: [{ path: { type: RegularExpression, value: '/(?=a)b' } }], ${BACKEND} }`),
      'a.yaml:7:61: error: spec.rules[0].matches[0].path.value: "/(?=a)b" is not a regular expression of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`',
    ],
    [
      'a backreference in a header',
      httpRoute(
        `{ matches: [{ headers: [{ type: RegularExpression, name: x, value: '(a)\\1' }] }], ${BACKEND} }`,
      ),
      'a.yaml:7:74: error: spec.rules[0].matches[0].headers[0].value: "(a)\\\\1" is not a regular expression of RE2: error parsing regexp: invalid escape sequence: `\\1`',
    ],
    [
      'an open bracket in a query',
      httpRoute(
        `{ matches: [{ queryParams: [{ type: RegularExpression, name: q, value: '[a' }] }], ${BACKEND} }`,
      ),
      'a.yaml:7:78: error: spec.rules[0].matches[0].queryParams[0].value: "[a" is not a regular expression of RE2: error parsing regexp: missing closing ]: `[a`',
    ],
    [
      'an unknown type',
      httpRoute(`{ matches: [{ path: { type: Prefix, value: /a } }], ${BACKEND} }`),
      'a.yaml:7:35: error: spec.rules[0].matches[0].path.type: expected one of Exact, PathPrefix, RegularExpression (did you mean PathPrefix?), found the string "Prefix"',
    ],
    [
      'a path that does not begin',
      httpRoute(`{ matches: [{ path: { value: a } }], ${BACKEND} }`),
      'a.yaml:7:36: error: spec.rules[0].matches[0].path.value: expected a path that begins with /, found "a"',
    ],
    [
      'a path with dots',
      httpRoute(`{ matches: [{ path: { value: /a/../b } }], ${BACKEND} }`),
      'a.yaml:7:36: error: spec.rules[0].matches[0].path.value: a path cannot have "/../" in it: "/a/../b"',
    ],
    [
      'an unknown method',
      httpRoute(`{ matches: [{ method: get }], ${BACKEND} }`),
      'a.yaml:7:29: error: spec.rules[0].matches[0].method: expected one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH (did you mean GET?), found the string "get"',
    ],
    [
      'a header twice',
      httpRoute(`{ matches: [{ headers: [{ name: X, value: a }, { name: x, value: b }] }], ${BACKEND} }`),
      'a.yaml:7:62: warning: spec.rules[0].matches[0].headers[1].name: "x" is matched twice: only the first counts',
    ],
    [
      'a header without value',
      httpRoute(`{ matches: [{ headers: [{ name: x }] }], ${BACKEND} }`),
      'a.yaml:7:31: error: spec.rules[0].matches[0].headers[0]: the field "value" is required',
    ],
  ])('%s', isToldAs)
})

describe('timeouts and retries', () => {
  it.each<BadCase>([
    [
      'parts of a second',
      httpRoute(`{ ${BACKEND}, timeouts: { request: 1.5s } }`),
      'a.yaml:7:70: error: spec.rules[0].timeouts.request: expected a duration such as 500ms, 10s or 1m30s, found "1.5s"',
    ],
    [
      'no unit',
      httpRoute(`{ ${BACKEND}, timeouts: { request: "10" } }`),
      'a.yaml:7:70: error: spec.rules[0].timeouts.request: expected a duration such as 500ms, 10s or 1m30s, found "10"',
    ],
    [
      'a try longer than the whole',
      httpRoute(`{ ${BACKEND}, timeouts: { request: 1s, backendRequest: 2s } }`),
      'a.yaml:7:90: error: spec.rules[0].timeouts.backendRequest: cannot be longer than the timeout of the whole request',
    ],
    [
      'an unknown field',
      httpRoute(`{ ${BACKEND}, timeouts: { total: 1s } }`),
      'a.yaml:7:61: error: spec.rules[0].timeouts.total: unknown field, expected one of request, backendRequest',
    ],
    [
      'a code out of range',
      httpRoute(`{ ${BACKEND}, retry: { codes: [200] } }`),
      'a.yaml:7:66: error: spec.rules[0].retry.codes[0]: expected an integer from 400 to 599, found the number 200',
    ],
    [
      'a back-off of nothing',
      httpRoute(`{ ${BACKEND}, retry: { backoff: 0s } }`),
      'a.yaml:7:67: error: spec.rules[0].retry.backoff: expected at least 1ms, found "0s"',
    ],
  ])('%s', isToldAs)
})
