/** What a cluster would take and nobody would act upon: it is said, where it is written. */
import { describe, it } from 'vitest'
import { gatewayText, serviceText } from './support/derive.ts'
import {
  BACKEND,
  type BadCase,
  filters,
  httpRoute,
  isToldAs,
  match,
  route,
  TO,
  virtualService,
} from './support/traffic.ts'

const headers = (text: string): string => route(`{ ${TO}, headers: { ${text} } }`)
const listener = (text: string): string =>
  gatewayText('w').replace('protocol: HBONE', `protocol: HBONE, ${text}`)

describe('in a VirtualService', () => {
  it.each<BadCase>([
    [
      'a share without a value',
      route(`{ ${TO}, fault: { abort: { httpStatus: 503, percentage: {} } } }`),
      'a.yaml:7:97: warning: spec.http[0].fault.abort.percentage: has no value, so it happens to no request',
    ],
    [
      'an exact path without a slash',
      match('uri: { exact: a }'),
      'a.yaml:7:33: warning: spec.http[0].match[0].uri.exact: every path begins with /, found "a": this never matches',
    ],
    [
      'a prefix without a slash',
      match('uri: { prefix: a }'),
      'a.yaml:7:34: warning: spec.http[0].match[0].uri.prefix: every path begins with /, found "a": this never matches',
    ],
    [
      'an exact path of nothing',
      match('uri: { exact: "" }'),
      'a.yaml:7:33: warning: spec.http[0].match[0].uri.exact: every path begins with /, found "": this never matches',
    ],
    [
      'a method that is set',
      headers('request: { set: { ":method": GET } }'),
      'a.yaml:7:90: error: spec.http[0].headers.request.set.":method": the header :method cannot be changed',
    ],
    [
      'a path that is added',
      headers('request: { add: { ":path": /a } }'),
      'a.yaml:7:88: error: spec.http[0].headers.request.add.":path": the header :path cannot be changed',
    ],
    [
      'a status that is set',
      headers('response: { set: { ":status": "200" } }'),
      'a.yaml:7:91: error: spec.http[0].headers.response.set.":status": the header :status cannot be changed',
    ],
    [
      'a group that the expression does not have',
      route(`{ ${TO}, rewrite: { uriRegexRewrite: { match: '(a)', rewrite: '\\1\\2' } } }`),
      'a.yaml:7:103: error: spec.http[0].rewrite.uriRegexRewrite.rewrite: refers to the group 2, and the expression has 1',
    ],
    [
      'no TCP routes',
      virtualService('  tcp: []'),
      'a.yaml:6:8: error: spec.tcp: expected at least one route, found none',
    ],
  ])('%s', isToldAs)
})

describe('in an HTTPRoute', () => {
  it.each<BadCase>([
    [
      'no rules',
      httpRoute('').replace(/ {2}rules[\s\S]*/, ''),
      'a.yaml:5:3: warning: spec: has no rules: every request is answered 500',
    ],
    [
      'an empty list of rules',
      httpRoute('').replace(/rules:[\s\S]*/, 'rules: []\n'),
      'a.yaml:6:10: error: spec.rules: expected at least one rule, found none',
    ],
    [
      'a field of another filter',
      filters('{ type: CORS, cors: {}, urlRewrite: { hostname: a.b } }'),
      'a.yaml:7:95: error: spec.rules[0].filters[0].urlRewrite: has no place in a filter of type CORS',
    ],
    [
      'a path that is set',
      filters(
        '{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: ":path", value: /a }] } }',
      ),
      'a.yaml:7:129: error: spec.rules[0].filters[0].requestHeaderModifier.set[0].name: the header :path cannot be changed',
    ],
    [
      'too many rules',
      httpRoute(`{ ${BACKEND} }${`\n    - { ${BACKEND} }`.repeat(16)}`),
      'a.yaml:7:5: error: spec.rules: expected at most 16 rules, found 17',
    ],
    [
      'too many matches',
      httpRoute(`{ matches: [${'{}, '.repeat(64)}{}], ${BACKEND} }`),
      'a.yaml:7:18: error: spec.rules[0].matches: expected at most 64 matches, found 65',
    ],
  ])('%s', isToldAs)
})

describe('of waypoints', () => {
  it.each<BadCase>([
    [
      'a canary',
      serviceText('s', { selector: '', labels: 'istio.io/use-waypoint-canary: wp' }),
      'a.yaml:3:79: warning: metadata.labels."istio.io/use-waypoint-canary": canary waypoints are not supported: everything goes to the other one',
    ],
    [
      'a namespace without a name',
      serviceText('s', { selector: '', labels: 'istio.io/use-waypoint-namespace: shop' }),
      'a.yaml:3:82: warning: metadata.labels."istio.io/use-waypoint-namespace": has no effect without istio.io/use-waypoint',
    ],
    [
      'certificates of a listener',
      listener('tls: { mode: Terminate }'),
      'a.yaml:4:104: warning: spec.listeners[0].tls: is not acted upon',
    ],
    [
      'a host of a listener',
      listener('hostname: a.b'),
      'a.yaml:4:109: warning: spec.listeners[0].hostname: is not acted upon',
    ],
  ])('%s', isToldAs)
})
