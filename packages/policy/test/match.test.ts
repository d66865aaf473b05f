/** What matches what: ztunnel's rules of matching, attribute by attribute. */
import { describe, expect, it } from 'vitest'
import { type AuthorizationMatch, decide, emptyMatch, type StringMatch } from '@ambient/policy'
import { connection, type ConnectionOf, policy } from './fixtures.ts'

const exact = (value: string): StringMatch => ({ kind: 'exact', value })
const presence: StringMatch = { kind: 'presence' }

/** An ALLOW policy allows exactly when it matches. */
function matches(
  clauses: readonly (readonly Partial<AuthorizationMatch>[])[],
  of: ConnectionOf = {},
): boolean {
  return decide([policy({}, clauses)], connection(of)).allowed
}

describe('shape', () => {
  it('a policy without rules never matches', () => {
    expect(decide([policy({})], connection()).allowed).toBe(false)
    expect(decide([policy({ action: 'Deny' })], connection()).allowed).toBe(true)
  })
  it('a rule without clauses and a clause without matches match everything', () => {
    expect(matches([])).toBe(true)
    expect(matches([[]])).toBe(true)
    expect(matches([[], []], { principal: null })).toBe(true)
  })
  it('a match that sets nothing never matches, alone or in company', () => {
    expect(matches([[emptyMatch]])).toBe(false)
    expect(matches([[emptyMatch], []])).toBe(false)
    expect(matches([[emptyMatch, { destinationPorts: [80] }]])).toBe(true)
    expect(matches([[emptyMatch, { destinationPorts: [81] }]])).toBe(false)
  })
  it('clauses are and-ed, matches or-ed, whatever the network', () => {
    const nested = [
      [{ namespaces: [exact('client')] }, { namespaces: [exact('other')] }],
      [{ destinationPorts: [80] }],
    ]
    const other = 'cluster.local/ns/other/sa/x'
    expect(matches(nested)).toBe(true)
    expect(matches(nested, { principal: other, network: 'remote' })).toBe(true)
    expect(matches(nested, { principal: 'cluster.local/ns/third/sa/x' })).toBe(false)
    expect(matches(nested, { port: 81 })).toBe(false)
    expect(matches(nested, { principal: null })).toBe(false)
  })
  it('rules are or-ed, attributes of a match and-ed', () => {
    const rules = policy(
      {},
      [[{ namespaces: [exact('a')] }]],
      [[{ destinationPorts: [80], namespaces: [exact('b')] }]],
    )
    const from = (namespace: string, port: number): boolean =>
      decide([rules], connection({ principal: `cluster.local/ns/${namespace}/sa/x`, port })).allowed
    expect([from('a', 1), from('b', 80), from('b', 1), from('c', 80)]).toEqual([true, true, false, false])
  })
})

describe('attributes', () => {
  const alice = { namespace: 'client', serviceAccount: 'alice' }
  const bob = { namespace: 'client', serviceAccount: 'bob' }
  it.each<[string, Partial<AuthorizationMatch>, boolean, boolean]>([
    // what, match, with identity, in plaintext
    ['namespaces hit', { namespaces: [exact('client')] }, true, false],
    ['namespaces miss', { namespaces: [exact('clien')] }, false, false],
    ['notNamespaces hit', { notNamespaces: [exact('client')] }, false, true],
    ['notNamespaces miss', { notNamespaces: [exact('x'), exact('y')] }, true, true],
    ['principals hit', { principals: [exact('cluster.local/ns/client/sa/alice')] }, true, false],
    ['principals miss', { principals: [exact('td/ns/client/sa/alice')] }, false, false],
    [
      'principals with scheme',
      { principals: [exact('spiffe://cluster.local/ns/client/sa/alice')] },
      false,
      false,
    ],
    ['principals in other case', { principals: [exact('cluster.local/ns/client/sa/Alice')] }, false, false],
    ['principals presence', { principals: [presence] }, true, false],
    ['notPrincipals hit', { notPrincipals: [exact('cluster.local/ns/client/sa/alice')] }, false, true],
    ['notPrincipals miss', { notPrincipals: [exact('x')] }, true, true],
    ['notPrincipals presence', { notPrincipals: [presence] }, false, true],
    ['serviceAccounts hit', { serviceAccounts: [bob, alice] }, true, false],
    ['serviceAccounts miss', { serviceAccounts: [bob] }, false, false],
    ['notServiceAccounts hit', { notServiceAccounts: [bob, alice] }, false, true],
    ['notServiceAccounts miss', { notServiceAccounts: [bob] }, true, true],
    ['sourceIps hit', { sourceIps: ['10.0.0.1/32'] }, true, true],
    ['sourceIps block', { sourceIps: ['192.168.0.0/16', '10.0.0.7/24'] }, true, true],
    ['sourceIps miss', { sourceIps: ['10.0.0.2/32'] }, false, false],
    ['notSourceIps hit', { notSourceIps: ['10.0.0.0/8'] }, false, false],
    ['notSourceIps miss', { notSourceIps: ['11.0.0.0/8'] }, true, true],
    ['destinationIps hit', { destinationIps: ['10.0.0.2/32'] }, true, true],
    ['destinationIps miss', { destinationIps: ['10.0.0.1/32'] }, false, false],
    ['notDestinationIps hit', { notDestinationIps: ['10.0.0.2'] }, false, false],
    ['notDestinationIps miss', { notDestinationIps: ['10.0.0.1'] }, true, true],
    ['destinationPorts hit', { destinationPorts: [79, 80] }, true, true],
    ['destinationPorts miss', { destinationPorts: [8080] }, false, false],
    ['notDestinationPorts hit', { notDestinationPorts: [80] }, false, false],
    ['notDestinationPorts miss', { notDestinationPorts: [81] }, true, true],
  ])('%s', (_, match, proven, plaintext) => {
    expect(matches([[match]])).toBe(proven)
    expect(matches([[match]], { principal: null })).toBe(plaintext)
  })

  it('compares service accounts across trust domains, and identities of another form by their text only', () => {
    expect(matches([[{ serviceAccounts: [alice] }]], { principal: 'td2/ns/client/sa/alice' })).toBe(true)
    const other = { principal: 'cluster.local/edge/one' }
    expect(matches([[{ serviceAccounts: [alice] }]], other)).toBe(false)
    expect(matches([[{ namespaces: [presence] }]], other)).toBe(false)
    expect(matches([[{ principals: [exact('cluster.local/edge/one')] }]], other)).toBe(true)
  })

  it('compares IPv6 with IPv6 and a mapped address as the IPv4 one that it is', () => {
    expect(matches([[{ sourceIps: ['2001:db8::/32'] }]], { from: '2001:db8::7' })).toBe(true)
    expect(matches([[{ sourceIps: ['::/0'] }]], { from: '10.0.0.1' })).toBe(false)
    expect(matches([[{ sourceIps: ['0.0.0.0/0'] }]], { from: '::1' })).toBe(false)
    expect(matches([[{ sourceIps: ['10.0.0.0/8'] }]], { from: '::ffff:10.0.0.1' })).toBe(true)
    expect(matches([[{ sourceIps: ['10.0.0.0/9'] }]], { from: '10.128.0.0' })).toBe(false)
  })
})

describe('strings', () => {
  const value = (kind: 'exact' | 'prefix' | 'suffix', text: string): StringMatch => ({ kind, value: text })
  it.each<[StringMatch, string, boolean]>([
    [value('exact', 'cluster.local/a'), 'cluster.local/a', true],
    [value('exact', 'cluster.local/a'), 'cluster.local/ab', false],
    [value('exact', 'cluster.local/ab'), 'cluster.local/a', false],
    [value('prefix', 'cluster.local/a'), 'cluster.local/ab', true],
    [value('prefix', 'cluster.local/a'), 'cluster.local/a', true],
    [value('prefix', 'cluster.local/a'), 'cluster.local/b/cluster.local/a', false],
    [value('suffix', '/b'), 'cluster.local/a/b', true],
    [value('suffix', '/b'), 'cluster.local/b/a', false],
    [value('suffix', 'cluster.local/a*'), 'cluster.local/ab', false],
    [presence, 'cluster.local/x', true],
  ])('%j against %s', (match, principal, expected) => {
    expect(matches([[{ principals: [match] }]], { principal })).toBe(expected)
  })
  it.each([exact('a'), value('prefix', 'a'), value('suffix', 'a'), presence])(
    '%j never matches nothing',
    match => {
      expect(matches([[{ namespaces: [match] }]], { principal: null })).toBe(false)
      expect(matches([[{ principals: [match] }]], { principal: null })).toBe(false)
    },
  )
  it('takes any of several', () => {
    const several = [exact('x'), value('prefix', 'cluster.'), value('suffix', '/z')]
    expect(matches([[{ principals: several }]])).toBe(true)
    expect(matches([[{ principals: several }]], { principal: 'td/z' })).toBe(true)
    expect(matches([[{ principals: several }]], { principal: 'td/y' })).toBe(false)
  })
})

describe('blocks that cannot be read', () => {
  const verdict = (action: 'Allow' | 'Deny', match: Partial<AuthorizationMatch>): boolean =>
    decide([policy({ action }, [[match]])], connection()).allowed
  it('never widen an ALLOW nor narrow a DENY', () => {
    expect(verdict('Allow', { sourceIps: ['nonsense'], destinationPorts: [80] })).toBe(false)
    expect(verdict('Allow', { notSourceIps: ['10.0.0.300'], destinationPorts: [80] })).toBe(false)
    expect(verdict('Deny', { sourceIps: ['nonsense'] })).toBe(false)
    expect(verdict('Deny', { notDestinationIps: ['10.0.0.0/33'] })).toBe(false)
  })
  it('leave the good ones of a list in force', () => {
    expect(verdict('Allow', { sourceIps: ['nonsense', '10.0.0.1'] })).toBe(true)
    expect(verdict('Deny', { notSourceIps: ['nonsense', '10.0.0.1'] })).toBe(true)
  })
})
