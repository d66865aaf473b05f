/** Every field and every `when` key of an AuthorizationPolicy as a waypoint matches it. */
import { describe, expect, it } from 'vitest'
import type { PolicyCondition, PolicyOperation, PolicySource } from '@ambient/policy'
import { connection } from './fixtures.ts'
import { forWeb, matches, request, type RequestOf, target, waypoint } from './waypoint-fixtures.ts'

const alice = 'cluster.local/ns/client/sa/alice'

describe('source', () => {
  const nobody = { principal: null }
  it.each<[PolicySource, RequestOf, boolean]>([
    [{ principals: [alice] }, {}, true],
    [{ principals: ['cluster.local/ns/client/sa/bob'] }, {}, false],
    [{ principals: ['cluster.local/*'] }, {}, true],
    [{ principals: ['td2/*'] }, {}, false],
    [{ principals: ['*/sa/alice'] }, {}, true],
    [{ principals: ['*'] }, {}, true],
    [{ principals: ['*'] }, nobody, false],
    // A leading star is looked at first: the second one is a star like any other character.
    [{ principals: ['*client*'] }, {}, false],
    [{ principals: ['spiffe://cluster.local/ns/client/sa/alice'] }, {}, false],
    // The scheme is no part of the text.
    [{ principals: ['*//cluster.local/ns/client/sa/alice'] }, {}, false],
    [{ principals: ['*pcluster.local/ns/client/sa/alice'] }, {}, false],
    [{ notPrincipals: [alice] }, {}, false],
    [{ notPrincipals: [alice] }, nobody, true],
    [{ notPrincipals: ['*'] }, nobody, true],
    [{ namespaces: ['client'] }, {}, true],
    [{ namespaces: ['cli*'] }, {}, true],
    [{ namespaces: ['*ent'] }, {}, true],
    [{ namespaces: ['c*t'] }, {}, true],
    [{ namespaces: ['c*x'] }, {}, false],
    [{ namespaces: ['lient'] }, {}, false],
    [{ namespaces: ['clien'] }, {}, false],
    [{ namespaces: ['*'] }, {}, true],
    [{ namespaces: ['*'] }, nobody, false],
    [{ namespaces: ['.*'] }, {}, false],
    [{ notNamespaces: ['client'] }, nobody, true],
    [{ serviceAccounts: ['client/alice'] }, {}, true],
    [{ serviceAccounts: ['alice'] }, {}, false],
    [{ serviceAccounts: ['alice'] }, { principal: 'cluster.local/ns/shop/sa/alice' }, true],
    // Anywhere in the identity, as Envoy is told to look.
    [{ serviceAccounts: ['a/s'] }, { principal: 'td/ns/a/sa/s/more' }, true],
    [{ serviceAccounts: ['a/s'] }, { principal: 'td/k/v/ns/a/x/y/sa/s' }, true],
    [{ serviceAccounts: ['a/s'] }, { principal: 'td/ns/a/sa/sx/more' }, false],
    [{ serviceAccounts: ['a/s'] }, { principal: 'td/sa/s/ns/a' }, false],
    [{ notServiceAccounts: ['a/s'] }, { principal: 'td/ns/a/sa/s/more' }, false],
    [{ serviceAccounts: ['client/alic'] }, {}, false],
    [{ serviceAccounts: ['client/alice'] }, { principal: `td9/ns/client/sa/alice` }, true],
    [{ notServiceAccounts: ['client/alice'] }, nobody, true],
    [{ trustDomains: ['cluster.local'] }, {}, true],
    [{ trustDomains: ['*.local'] }, {}, true],
    [{ trustDomains: ['cluster.*'] }, {}, true],
    [{ trustDomains: ['cluster'] }, {}, false],
    [{ trustDomains: ['*'] }, nobody, false],
    [{ notTrustDomains: ['cluster.local'] }, nobody, true],
    // The address of the proven caller, as the API says; a stock waypoint never matches it.
    [{ ipBlocks: ['10.0.0.1'] }, {}, true],
    [{ ipBlocks: ['10.0.0.0/24'] }, {}, true],
    [{ ipBlocks: ['10.0.1.0/24'] }, {}, false],
    [{ ipBlocks: ['2001:db8::/32'] }, { from: '2001:db8::7' }, true],
    [{ notIpBlocks: ['10.0.0.0/24'] }, {}, false],
    [{ remoteIpBlocks: ['10.0.0.0/24'] }, {}, true],
    [{ remoteIpBlocks: ['203.0.113.0/24'] }, { headers: { 'x-forwarded-for': '203.0.113.9' } }, false],
    [{ remoteIpBlocks: ['203.0.113.0/24'] }, { remoteAddress: '203.0.113.9' }, true],
    [{ notRemoteIpBlocks: ['203.0.113.0/24'] }, { remoteAddress: '203.0.113.9' }, false],
    // No JWT is verified here.
    [{ requestPrincipals: ['*'] }, { headers: { authorization: 'Bearer x' } }, false],
    [{ notRequestPrincipals: ['*'] }, {}, true],
    [{}, nobody, true],
  ])('%j of %j: %s', (source, of, expected) => {
    expect(matches({ from: [{ source }] }, request(of))).toBe(expected)
  })
})

describe('operation', () => {
  it.each<[PolicyOperation, RequestOf, boolean]>([
    [{ hosts: ['web'] }, {}, true],
    [{ hosts: ['WEB'] }, { authority: 'wEb' }, true],
    [{ hosts: ['web'] }, { authority: 'web:8080' }, false],
    [{ hosts: ['web:*'] }, { authority: 'web:8080' }, true],
    [{ hosts: ['*.SHOP'] }, { authority: 'a.shop' }, true],
    [{ hosts: ['*'] }, { authority: '' }, true],
    // The Kelvin sign is no k.
    [{ hosts: ['k'] }, { authority: '\u212a' }, false],
    [{ notHosts: ['web'] }, { authority: 'WEB' }, false],
    [{ ports: ['80'] }, {}, true],
    [{ ports: ['8080'] }, {}, false],
    [{ notPorts: ['80', '81'] }, { port: 82 }, true],
    [{ methods: ['GET'] }, {}, true],
    [{ methods: ['get'] }, {}, false],
    [{ methods: ['P*'] }, { method: 'PATCH' }, true],
    [{ methods: ['*T'] }, { method: 'POST' }, true],
    [{ methods: ['*'] }, { method: 'X' }, true],
    [{ notMethods: ['GET', 'HEAD'] }, { method: 'DELETE' }, true],
    [{ paths: ['/a'] }, { path: '/a?x=1' }, true],
    [{ paths: ['/a'] }, { path: '/a#x' }, true],
    [{ paths: ['/a'] }, { path: '/A' }, false],
    [{ paths: ['/a'] }, { path: '/a/' }, false],
    [{ paths: ['/a*'] }, { path: '/abc/d' }, true],
    [{ paths: ['*.html'] }, { path: '/x/y.html?z' }, true],
    [{ paths: ['*.html'] }, { path: '/x?y.html' }, false],
    [{ paths: ['*'] }, { path: '/' }, true],
    [{ paths: ['*'] }, { path: '?x' }, false],
    [{ notPaths: ['/admin*'] }, { path: '/admin/x' }, false],
  ])('%j of %j: %s', (operation, of, expected) => {
    expect(matches({ to: [{ operation }] }, request(of))).toBe(expected)
  })
})

describe('path templates', () => {
  it.each<[string, string, boolean]>([
    ['/foo/{*}', '/foo/bar', true],
    ['/foo/{*}', '/foo/bar/baz', false],
    ['/foo/{*}', '/foo/', false],
    ['/foo/{*}', '/foo', false],
    ['/foo/{*}', '/foo/bar?x', true],
    ['/foo/{*}', '/foo/[x]', false],
    ['/foo/{*}', '/foo/a%20b', true],
    ['/foo/{*}', '/foo/*', true],
    ['/foo/{**}', '/foo/a*/%zz', true],
    ['/foo/{**}/', '/foo/bar/', true],
    ['/foo/{**}/', '/foo//', true],
    ['/foo/{**}/', '/foo/', false],
    ['/foo/{**}/', '/foo/bar', false],
    ['/foo/{**}', '/foo/', true],
    ['/foo/{**}', '/foo', false],
    ['/foo/{**}', '/foo/a/b/c', true],
    ['/foo/{**}', '/foo/a/[b]', false],
    ['/{*}/bar/{**}/end', '/x/bar/1/2/end', true],
    ['/{*}/bar/{**}/end', '/x/bar/end', false],
    ['/{*}/bar/{**}/end', '/x/baz/1/end', false],
    ['/{*}/{*}', '/a/b', true],
    ['/{*}/{*}', '/a', false],
    ['/{**}', '/', true],
  ])('%s of %s: %s', (template, path, expected) => {
    expect(matches({ to: [{ operation: { paths: [template] } }] }, request({ path }))).toBe(expected)
    expect(matches({ to: [{ operation: { paths: ['/never', template] } }] }, request({ path }))).toBe(
      expected,
    )
    expect(matches({ to: [{ operation: { notPaths: [template] } }] }, request({ path }))).toBe(!expected)
  })
})

describe('when', () => {
  const jason = { headers: { 'x-user': 'jason' } }
  const twice = { headers: { 'x-user': ['jason', 'mia'] } }
  it.each<[PolicyCondition, RequestOf, boolean]>([
    [{ key: 'request.headers[x-user]', values: ['jason'] }, jason, true],
    [{ key: 'request.headers[X-User]', values: ['jason'] }, jason, true],
    [{ key: 'request.headers[x-user]', values: ['Jason'] }, jason, false],
    [{ key: 'request.headers[x-user]', values: ['ja*', 'x'] }, jason, true],
    [{ key: 'request.headers[x-user]', values: ['*on'] }, jason, true],
    [{ key: 'request.headers[x-user]', values: ['*'] }, jason, true],
    [{ key: 'request.headers[x-user]', values: ['*'] }, { headers: { 'x-user': '' } }, true],
    [{ key: 'request.headers[x-user]', values: ['*'] }, {}, false],
    [{ key: 'request.headers[x-user]', notValues: ['*'] }, {}, true],
    [{ key: 'request.headers[x-user]', notValues: ['jason'] }, jason, false],
    // Value by value, never joined.
    [{ key: 'request.headers[x-user]', values: ['mia'] }, twice, true],
    [{ key: 'request.headers[x-user]', values: ['jason,mia', 'jason, mia'] }, twice, false],
    [{ key: 'request.headers[x-user]', notValues: ['mia'] }, twice, false],
    [{ key: 'request.headers[x-user]', values: ['j*'], notValues: ['mia'] }, twice, false],
    [{ key: 'request.headers[host]', values: ['web'] }, {}, true],
    [{ key: 'request.headers[Host]', values: ['WEB'] }, {}, false],
    [{ key: 'request.headers[:method]', values: ['GET'] }, {}, true],
    [{ key: 'source.ip', values: ['10.0.0.0/31'] }, {}, true],
    [{ key: 'source.ip', notValues: ['10.0.0.0/31'] }, {}, false],
    [{ key: 'remote.ip', values: ['10.9.9.9'] }, { remoteAddress: '10.9.9.9' }, true],
    [{ key: 'source.namespace', values: ['cl*'] }, {}, true],
    [{ key: 'source.serviceAccount', values: ['client/alice'] }, {}, true],
    [{ key: 'source.trustDomain', notValues: ['cluster.local'] }, {}, false],
    [{ key: 'source.principal', values: [alice] }, {}, true],
    [{ key: 'request.auth.principal', values: ['*'] }, {}, false],
    [{ key: 'request.auth.audiences', notValues: ['x'] }, {}, true],
    [{ key: 'request.auth.presenter', values: ['x'] }, {}, false],
    [{ key: 'request.auth.claims[a][b]', values: ['*'] }, {}, false],
    [{ key: 'request.auth.claims[a]', notValues: ['x'] }, {}, true],
    [{ key: 'destination.ip', values: ['10.0.0.2/32'] }, {}, true],
    [{ key: 'destination.port', values: ['80'] }, {}, true],
    [{ key: 'connection.sni', values: ['*'] }, {}, false],
    [{ key: 'connection.sni', notValues: ['x'] }, {}, true],
    [{ key: 'experimental.envoy.filters.a.b[c]', values: ['[x]'] }, {}, false],
    [{ key: 'experimental.envoy.filters.a.b[c]', notValues: ['x'] }, {}, true],
  ])('%j of %j: %s', (condition, of, expected) => {
    expect(matches({ when: [condition] }, request(of))).toBe(expected)
  })

  it('conditions are and-ed', () => {
    const get = { key: 'request.headers[:method]', values: ['GET'] }
    expect(matches({ when: [get, { key: 'destination.port', values: ['81'] }] }, request())).toBe(false)
  })
})

describe('trust domain aliases', () => {
  const decide = (
    source: PolicySource,
    principal: string,
    trustDomain = 'td1',
    aliases = ['old-td'],
  ): boolean =>
    waypoint([forWeb({ rules: [{ from: [{ source }] }] })], {
      trustDomain,
      trustDomainAliases: aliases,
    }).decideRequest(target, request({ principal })).allowed
  it.each<[PolicySource, string, boolean]>([
    [{ principals: ['td1/ns/a/sa/b'] }, 'old-td/ns/a/sa/b', true],
    [{ principals: ['old-td/ns/a/sa/b'] }, 'td1/ns/a/sa/b', true],
    [{ principals: ['cluster.local/ns/a/sa/b'] }, 'td1/ns/a/sa/b', true],
    [{ principals: ['cluster.local/ns/a/sa/b'] }, 'old-td/ns/a/sa/b', true],
    [{ principals: ['cluster.local/ns/a/sa/b'] }, 'cluster.local/ns/a/sa/b', false],
    [{ principals: ['td1/ns/a/sa/b'] }, 'td3/ns/a/sa/b', false],
    [{ principals: ['td3/ns/a/sa/b'] }, 'td1/ns/a/sa/b', false],
    [{ principals: ['td3/ns/a/sa/b'] }, 'td3/ns/a/sa/b', true],
    [{ principals: ['td1/ns/a/sa/*'] }, 'old-td/ns/a/sa/x', true],
    // Not five parts: as written.
    [{ principals: ['td1/ns/a/*'] }, 'old-td/ns/a/sa/x', false],
    [{ principals: ['*-td/ns/a/sa/b'] }, 'old-td/ns/a/sa/b', true],
    [{ principals: ['*-td/ns/a/sa/b'] }, 'td1/ns/a/sa/b', true],
    [{ principals: ['*/ns/a/sa/b'] }, 'td3/ns/a/sa/b', true],
    [{ principals: ['td*/ns/a/sa/b'] }, 'td1/ns/a/sa/b', true],
    [{ trustDomains: ['old-td'] }, 'td1/ns/a/sa/b', true],
    [{ trustDomains: ['td3'] }, 'td1/ns/a/sa/b', false],
    // A pointer in principals only.
    [{ trustDomains: ['cluster.local'] }, 'td1/ns/a/sa/b', false],
    [{ notTrustDomains: ['cluster.local'] }, 'td1/ns/a/sa/b', true],
    [{ trustDomains: ['cluster.local'] }, 'cluster.local/ns/a/sa/b', true],
    [{ notPrincipals: ['td1/ns/a/sa/b'] }, 'old-td/ns/a/sa/b', false],
  ])('%j of %s: %s', (source, principal, expected) => {
    expect(decide(source, principal)).toBe(expected)
  })
  it('only names what it has without aliases', () => {
    expect(decide({ principals: ['cluster.local/ns/a/sa/b'] }, 'td1/ns/a/sa/b', 'td1', [])).toBe(true)
    expect(decide({ principals: ['old-td/ns/a/sa/b'] }, 'td1/ns/a/sa/b', 'td1', [])).toBe(false)
  })
})

describe('values that no reader lets pass', () => {
  const bad = { from: [{ source: { ipBlocks: ['10.0.0.0/8', 'everywhere'] } }] }
  it('take an ALLOW rule away and make a DENY rule wider', () => {
    expect(matches(bad, request())).toBe(false)
    const deny = waypoint([forWeb({ action: 'DENY', rules: [bad] })])
    expect(deny.decideRequest(target, request({ from: '192.0.2.1' })).allowed).toBe(false)
    const odd = { to: [{ operation: { paths: ['/a{*}b'] } }] }
    expect(matches(odd, request({ path: '/axb' }))).toBe(false)
  })
})

it('takes no more time for hostile text than its length', () => {
  const long = `/${'a'.repeat(50_000)}`
  const globs = Array.from({ length: 5 }, () => 'a*a*a*a*a*a*b')
  const started = performance.now()
  const rule = {
    from: [{ source: { notNamespaces: globs } }],
    to: [{ operation: { paths: ['/{*}/{*}/{**}/x', `*${long}b`, `${long}*`] } }],
  }
  matches(rule, request({ path: long + '/a'.repeat(20_000), authority: long }))
  expect(performance.now() - started).toBeLessThan(1000)
  expect(connection().destination.port).toBe(80)
})
