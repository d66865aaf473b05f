/** Every field and every `when` key in the dialect `envoy-http` (l7 §2.3, §2.4), as the corrections of §0.1 have them. */
import { describe, expect, it } from 'vitest'
import { ask, type Asked, decide, documents, FOR_WEB, policy, waypoint } from './evaluator-fixtures.ts'

const alice: Asked = {}
const plaintext: Asked = { principal: null }
const source = (text: string): string => `- from: [{source: {${text}}}]`
const operation = (text: string): string => `- to: [{operation: {${text}}}]`
const when = (key: string, text: string): string => `- when: [{key: "${key}", ${text}}]`
const path = (value: string): Asked => ({ http: { path: value } })
const host = (authority: string): Asked => ({ http: { authority } })
const header = (value: string | readonly string[]): Asked => ({ http: { headers: { 'X-A': value } } })

/** A rule, a request, whether the rule matches. */
type Row = readonly [string, Asked, boolean]

const sources: readonly Row[] = [
  [source('principals: [cluster.local/ns/client/sa/alice]'), alice, true],
  [source('principals: [cluster.local/ns/client/sa/*]'), alice, true],
  [source('principals: ["*/sa/alice"]'), alice, true],
  [source('principals: ["*/sa/bob"]'), alice, false],
  [source('principals: ["*"]'), alice, true],
  [source('principals: ["*"]'), plaintext, false],
  [source('principals: [Cluster.local/ns/client/sa/alice]'), alice, false],
  [source('notPrincipals: ["*"]'), plaintext, true],
  [source('notPrincipals: ["*/sa/bob"]'), alice, true],
  [source('notPrincipals: ["*/sa/alice"]'), alice, false],
  [source('namespaces: [client]'), alice, true],
  [source('namespaces: [c*t]'), alice, true],
  [source('namespaces: [lient]'), alice, false],
  [source('namespaces: ["*"]'), plaintext, false],
  [source('notNamespaces: [client]'), plaintext, true],
  [source('serviceAccounts: [client/alice]'), alice, true],
  [source('serviceAccounts: [alice]'), alice, false],
  [source('serviceAccounts: [alice]'), { principal: 'td/ns/shop/sa/alice' }, true],
  [source('notServiceAccounts: [client/alice]'), plaintext, true],
  [source('trustDomains: [cluster.local]'), alice, true],
  [source('trustDomains: [cluster]'), alice, false],
  [source('trustDomains: ["cluster*"]'), alice, true],
  [source('trustDomains: ["*.local"]'), alice, true],
  [source('trustDomains: ["*"]'), alice, true],
  [source('trustDomains: ["*"]'), plaintext, false],
  [source('notTrustDomains: [cluster.local]'), alice, false],
  [source('ipBlocks: [10.0.0.0/24]'), alice, true],
  [source('ipBlocks: [10.0.1.0/24]'), alice, false],
  [source('notIpBlocks: [10.0.1.0/24]'), alice, true],
  [source('remoteIpBlocks: [10.0.0.1]'), alice, true],
  [source('remoteIpBlocks: [192.0.2.1]'), { remoteIp: '192.0.2.1' }, true],
  [source('remoteIpBlocks: [10.0.0.1]'), { remoteIp: '192.0.2.1' }, false],
  [source('notRemoteIpBlocks: [192.0.2.1]'), { remoteIp: '192.0.2.1' }, false],
  [source('ipBlocks: [10.0.0.1]'), { remoteIp: '192.0.2.1' }, true],
  ['- from: [{source: {namespaces: [a]}}, {source: {namespaces: [client]}}]', alice, true],
  [source('namespaces: [client], principals: ["*/sa/bob"]'), alice, false],
]

const operations: readonly Row[] = [
  [operation('hosts: [WEB]'), host('web'), true],
  [operation('hosts: [web]'), host('WeB'), true],
  [operation('hosts: [web]'), host('web:8080'), false],
  [operation('hosts: ["web:*"]'), host('web:8080'), true],
  [operation('hosts: ["*.shop"]'), host('web.shop'), true],
  [operation('hosts: ["*"]'), host(''), true],
  [operation('notHosts: [web]'), host('web'), false],
  [operation('ports: ["80"]'), alice, true],
  [operation('ports: ["8080"]'), alice, false],
  [operation('notPorts: ["80"]'), alice, false],
  [operation('methods: [GET]'), alice, true],
  [operation('methods: [get]'), alice, false],
  [operation('methods: ["G*"]'), alice, true],
  [operation('methods: ["*"]'), alice, true],
  [operation('notMethods: [GET]'), alice, false],
  [operation('paths: [/a]'), path('/a?b=c'), true],
  [operation('paths: [/A]'), path('/a'), false],
  [operation('paths: ["/a*"]'), path('/ab/c'), true],
  [operation('paths: ["*c"]'), path('/ab/c'), true],
  [operation('paths: ["*ab*"]'), path('/xabx'), false],
  [operation('paths: ["*ab*"]'), path('/x/ab*'), true],
  [operation('paths: ["*"]'), path('/'), true],
  [operation('notPaths: ["/a*"]'), path('/ab'), false],
  [operation('paths: ["/foo/{*}"]'), path('/foo/bar'), true],
  [operation('paths: ["/foo/{*}"]'), path('/foo/bar/baz'), false],
  [operation('paths: ["/foo/{**}/"]'), path('/foo/bar/'), true],
  [operation('paths: ["/foo/{**}/"]'), path('/foo//'), true],
  [operation('paths: ["/foo/{**}/"]'), path('/foo/bar'), false],
  [operation('paths: ["/foo/{*}"]'), path('/foo/[x]'), false],
]

const conditions: readonly Row[] = [
  [when('request.headers[x-a]', 'values: ["1"]'), header('1'), true],
  [when('request.headers[X-A]', 'values: ["1"]'), header('1'), true],
  [when('request.headers[x-a]', 'values: ["1*"]'), header('12'), true],
  [when('request.headers[x-a]', 'values: ["A"]'), header('a'), false],
  [when('request.headers[x-a]', 'values: ["*"]'), header(''), true],
  [when('request.headers[x-a]', 'values: ["*"]'), alice, false],
  [when('request.headers[x-a]', 'notValues: ["1"]'), alice, true],
  [when('request.headers[x-a]', 'values: ["2"]'), header(['1', '2']), true],
  [when('request.headers[x-a]', 'notValues: ["2"]'), header(['1', '2']), false],
  [when('request.headers[x-a]', 'values: ["1,2"]'), header(['1', '2']), false],
  [
    when('request.headers[user-agent]', 'values: ["1,2"]'),
    { http: { headers: { 'user-agent': ['1', '2'] } } },
    true,
  ],
  [
    when('request.headers[user-agent]', 'values: ["2"]'),
    { http: { headers: { 'user-agent': ['1', '2'] } } },
    false,
  ],
  [when('request.headers[host]', 'values: [web]'), host('web'), true],
  [when('request.headers[host]', 'values: [web]'), host('WEB'), false],
  [when('request.headers[:method]', 'values: [GET]'), alice, true],
  [when('source.ip', 'values: [10.0.0.0/8]'), alice, true],
  [when('source.ip', 'notValues: [10.0.0.0/8]'), alice, false],
  [when('remote.ip', 'values: [192.0.2.0/24]'), { remoteIp: '192.0.2.1' }, true],
  [when('source.namespace', 'values: [client]'), alice, true],
  [when('source.serviceAccount', 'values: [client/alice]'), alice, true],
  [when('source.trustDomain', 'values: [cluster.local]'), alice, true],
  [when('source.principal', 'values: ["*/alice"]'), alice, true],
  [when('source.principal', 'notValues: ["*"]'), plaintext, true],
  [when('destination.ip', 'values: [10.0.0.2]'), alice, true],
  [when('destination.port', 'values: ["80"]'), alice, true],
  [when('connection.sni', 'values: ["*.example"]'), { sni: 'a.example' }, true],
  [when('connection.sni', 'values: ["*"]'), alice, false],
  [when('experimental.envoy.filters.a.b[c]', 'values: ["[x]"]'), alice, false],
  [when('experimental.envoy.filters.a.b[c]', 'notValues: [x]'), alice, true],
  ['- when: [{key: source.ip, values: [10.0.0.1]}, {key: destination.port, values: ["81"]}]', alice, false],
  [when('source.ip', 'values: [10.0.0.0/8], notValues: [10.0.0.1]'), alice, false],
]

describe.each([
  ['sources', sources],
  ['operations', operations],
  ['conditions', conditions],
] as const)('%s', (_, rows) => {
  it.each(rows)('%s %o: %s', (rule, asked, wanted) => {
    for (const action of ['ALLOW', 'DENY'] as const) {
      const all = documents(policy('shop/p', `${FOR_WEB}\naction: ${action}\nrules:\n${rule}`))
      const verdict = decide(all, { dialect: 'envoy-http' }, ask(asked), waypoint)
      expect(verdict.verdict).toBe((action === 'ALLOW') === wanted ? 'allow' : 'deny')
      expect(verdict.trace[0]?.rules[0]?.matched).toBe(wanted)
    }
  })
})

it('says that there is no metadata of filters', () => {
  const all = documents(
    policy('shop/p', `${FOR_WEB}\nrules:\n${when('experimental.envoy.filters.a.b[c]', 'values: [x]')}`),
  )
  expect(decide(all, { dialect: 'envoy-http' }, ask(), waypoint).reason).toContain(
    'no metadata of other filters',
  )
})

it('shows no values of headers that carry credentials', () => {
  const all = documents(
    policy('shop/p', `${FOR_WEB}\nrules:\n${when('request.headers[authorization]', 'values: [Bearer xyz]')}`),
  )
  const request = ask({ http: { headers: { Authorization: 'Bearer abc' } } })
  const text = JSON.stringify(decide(all, { dialect: 'envoy-http' }, request, waypoint))
  expect(text).not.toMatch(/xyz|abc/)
})
