/** Bad VirtualServices, where they match and where they lead: what is said, and at which place. */
import { describe, it } from 'vitest'
import { type BadCase, isToldAs, TO, virtualService, route, match } from './support/traffic.ts'

describe('destinations', () => {
  it.each<BadCase>([
    [
      'a service that does not exist',
      route('route: [{ destination: { host: gone } }]'),
      'a.yaml:7:38: error: spec.http[0].route[0].destination.host: refers to the Service shop/gone, which is not defined',
    ],
    [
      'a service of another namespace that does not exist',
      route('route: [{ destination: { host: web.infra.svc.cluster.local } }]'),
      'a.yaml:7:38: error: spec.http[0].route[0].destination.host: refers to the Service infra/web, which is not defined',
    ],
    [
      'a short name with a namespace',
      route('route: [{ destination: { host: api.shop } }]'),
      'a.yaml:7:38: error: spec.http[0].route[0].destination.host: a name with a dot is taken as it is, and no service is called api.shop: did you mean api.shop.svc.cluster.local?',
    ],
    [
      'a host that is no service here',
      route('route: [{ destination: { host: api.example.com } }]'),
      'a.yaml:7:38: warning: spec.http[0].route[0].destination.host: no service here is called api.example.com: requests for it are answered 503',
    ],
    [
      'a wildcard',
      route('route: [{ destination: { host: "*.shop" } }]'),
      'a.yaml:7:38: error: spec.http[0].route[0].destination.host: expected a host without wildcards, found "*.shop"',
    ],
    [
      'a port that does not exist',
      route('route: [{ destination: { host: api, port: { number: 8080 } } }]'),
      'a.yaml:7:59: error: spec.http[0].route[0].destination.port.number: the Service shop/api has no port 8080 (it has 80, 81)',
    ],
    [
      'a port out of range',
      route('route: [{ destination: { host: api, port: { number: 80800 } } }]'),
      'a.yaml:7:59: error: spec.http[0].route[0].destination.port.number: expected an integer from 1 to 65535, found the number 80800',
    ],
    [
      'a port that is no object',
      route('route: [{ destination: { host: api, port: 80 } }]'),
      'a.yaml:7:49: error: spec.http[0].route[0].destination.port: expected a map, found the number 80',
    ],
    [
      'a subset that does not exist',
      route('route: [{ destination: { host: api, subset: v3 } }]'),
      'a.yaml:7:51: warning: spec.http[0].route[0].destination.subset: no DestinationRule of api.shop.svc.cluster.local has the subset "v3" (there are v1, v2): requests for it are answered 503 NC',
    ],
    [
      'a subset without a DestinationRule',
      route('route: [{ destination: { host: web, subset: v1 } }]'),
      'a.yaml:7:51: warning: spec.http[0].route[0].destination.subset: no DestinationRule of web.shop.svc.cluster.local has the subset "v1" (none is defined): requests for it are answered 503 NC',
    ],
    [
      'a mirror to a service that does not exist',
      route(`{ ${TO}, mirror: { host: gone } }`),
      'a.yaml:7:66: error: spec.http[0].mirror.host: refers to the Service shop/gone, which is not defined',
    ],
    [
      'mirrors with an impossible share',
      route(`{ ${TO}, mirrors: [{ destination: { host: api }, percentage: { value: 101 } }] }`),
      'a.yaml:7:111: error: spec.http[0].mirrors[0].percentage.value: expected a number from 0 to 100, found 101',
    ],
    [
      'no destination',
      route('route: []'),
      'a.yaml:7:14: error: spec.http[0].route: expected at least one destination, found none',
    ],
    [
      'weights that sum to 0',
      route('route: [{ destination: { host: api }, weight: 0 }, { destination: { host: web }, weight: 0 }]'),
      'a.yaml:7:14: error: spec.http[0].route: the weights of several destinations sum to 0: nothing could go anywhere',
    ],
    [
      'several destinations without weights',
      route('route: [{ destination: { host: api } }, { destination: { host: web } }]'),
      'a.yaml:7:14: error: spec.http[0].route: the weights of several destinations sum to 0: nothing could go anywhere',
    ],
    [
      'a negative weight',
      route('route: [{ destination: { host: api }, weight: -1 }, { destination: { host: web }, weight: 2 }]'),
      'a.yaml:7:53: error: spec.http[0].route[0].weight: expected an integer from 0 to 2147483647, found the number -1',
    ],
    [
      'weights of a TCP route that sum to 0',
      virtualService(`  tcp:
    - route: [{ destination: { host: api }, weight: 0 }, { destination: { host: web }, weight: 0 }]`),
      'a.yaml:7:14: error: spec.tcp[0].route: the weights of several destinations sum to 0: nothing could go anywhere',
    ],
    [
      'a TCP route to a port that does not exist',
      virtualService(`  tcp:
    - route: [{ destination: { host: api, port: { number: 5 } } }]`),
      'a.yaml:7:59: error: spec.tcp[0].route[0].destination.port.number: the Service shop/api has no port 5 (it has 80, 81)',
    ],
  ])('%s', isToldAs)
})

describe('expressions that RE2 refuses', () => {
  it.each<BadCase>([
    [
      'a lookahead in a path',
      match("uri: { regex: '/(?=a)b' }"),
      'a.yaml:7:33: error: spec.http[0].match[0].uri.regex: "/(?=a)b" is not a regular expression of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`',
    ],
    [
      'a negative lookahead',
      match("uri: { regex: '/(?!a)b' }"),
      'a.yaml:7:33: error: spec.http[0].match[0].uri.regex: "/(?!a)b" is not a regular expression of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?!`',
    ],
    [
      'a lookbehind',
      match("uri: { regex: '(?<=a)b' }"),
      'a.yaml:7:33: error: spec.http[0].match[0].uri.regex: "(?<=a)b" is not a regular expression of RE2: error parsing regexp: invalid named capture: `(?<=a)b`',
    ],
    [
      'a backreference in a header',
      match("headers: { end-user: { regex: '(a)\\1' } }"),
      'a.yaml:7:49: error: spec.http[0].match[0].headers.end-user.regex: "(a)\\\\1" is not a regular expression of RE2: error parsing regexp: invalid escape sequence: `\\1`',
    ],
    [
      'an atomic group in an authority',
      match("authority: { regex: '(?>a)b' }"),
      'a.yaml:7:39: error: spec.http[0].match[0].authority.regex: "(?>a)b" is not a regular expression of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?>`',
    ],
    [
      'an open bracket in a query',
      match("queryParams: { q: { regex: '[a' } }"),
      'a.yaml:7:46: error: spec.http[0].match[0].queryParams.q.regex: "[a" is not a regular expression of RE2: error parsing regexp: missing closing ]: `[a`',
    ],
    [
      'an open group in a method',
      match("method: { regex: 'GE(T' }"),
      'a.yaml:7:36: error: spec.http[0].match[0].method.regex: "GE(T" is not a regular expression of RE2: error parsing regexp: missing closing ): `GE(T`',
    ],
    [
      'a repeat of nothing in withoutHeaders',
      match("withoutHeaders: { x: { regex: '+a' } }"),
      'a.yaml:7:49: error: spec.http[0].match[0].withoutHeaders.x.regex: "+a" is not a regular expression of RE2: error parsing regexp: missing argument to repetition operator: `+`',
    ],
    [
      'a repeat beyond a thousand',
      match("uri: { regex: 'a{1001}' }"),
      'a.yaml:7:33: error: spec.http[0].match[0].uri.regex: "a{1001}" is not a regular expression of RE2: error parsing regexp: invalid repeat count: `{1001}`',
    ],
    [
      'one that is too long',
      match(`uri: { regex: '${'a'.repeat(4097)}' }`),
      'a.yaml:7:33: error: spec.http[0].match[0].uri.regex: a regular expression of 4097 characters, more than 4096',
    ],
    [
      'a lookahead in a rewrite',
      route(`{ ${TO}, rewrite: { uriRegexRewrite: { match: '(?=a)', rewrite: x } } }`),
      'a.yaml:7:87: error: spec.http[0].rewrite.uriRegexRewrite.match: "(?=a)" is not a regular expression of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`',
    ],
    [
      'a backreference in an origin',
      route(`{ ${TO}, corsPolicy: { allowOrigins: [{ regex: '(a)\\1' }] } }`),
      'a.yaml:7:88: error: spec.http[0].corsPolicy.allowOrigins[0].regex: "(a)\\\\1" is not a regular expression of RE2: error parsing regexp: invalid escape sequence: `\\1`',
    ],
  ])('%s', isToldAs)
})

describe('matches', () => {
  it.each<BadCase>([
    [
      'several forms at once',
      match('uri: { exact: /a, prefix: /b }'),
      'a.yaml:7:24: error: spec.http[0].match[0].uri: expected exactly one of exact, prefix, regex',
    ],
    [
      'no form',
      match('uri: {}'),
      'a.yaml:7:24: error: spec.http[0].match[0].uri: expected exactly one of exact, prefix, regex',
    ],
    [
      'an unknown form',
      match('uri: { suffix: /a }'),
      'a.yaml:7:26: error: spec.http[0].match[0].uri.suffix: unknown field, expected one of exact, prefix, regex',
    ],
    [
      'a bad header name',
      match("headers: { 'end user': { exact: a } }"),
      'a.yaml:7:42: error: spec.http[0].match[0].headers."end user": expected the name of a header, found "end user"',
    ],
    [
      'an unknown field',
      match('header: { a: { exact: b } }'),
      'a.yaml:7:19: error: spec.http[0].match[0].header: unknown field, expected one of name, uri, scheme, method, authority, headers, port, sourceLabels, gateways, queryParams, ignoreUriCase, withoutHeaders, sourceNamespace, statPrefix; did you mean "headers"?',
    ],
    [
      'labels of the caller',
      match('sourceLabels: { app: web }'),
      'a.yaml:7:33: warning: spec.http[0].match[0].sourceLabels: is not known to a waypoint: this match is left out',
    ],
    [
      'another gateway',
      match('gateways: [edge]'),
      'a.yaml:7:29: warning: spec.http[0].match[0].gateways: does not apply to mesh: this match is left out',
    ],
    [
      'claims',
      match("headers: { '@request.auth.claims.sub': { exact: a } }"),
      'a.yaml:7:58: warning: spec.http[0].match[0].headers."@request.auth.claims.sub": routes by claims are for gateways, as Istio has it: at a waypoint this never matches',
    ],
    [
      'a port out of range',
      match('port: 0'),
      'a.yaml:7:25: error: spec.http[0].match[0].port: expected an integer from 1 to 65535, found the number 0',
    ],
    [
      'a route that is never reached',
      virtualService(`  http:
    - { ${TO} }
    - { ${TO} }`),
      'a.yaml:8:7: warning: spec.http[1]: is never reached: spec.http[0] before it matches everything',
    ],
  ])('%s', isToldAs)
})
