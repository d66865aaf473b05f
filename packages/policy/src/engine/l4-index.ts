/** How rules over connections are found: by identity, port or address. */
import { readCidr } from './read-cidr.ts'
import { ATTRIBUTES, accountKey } from './attributes.ts'
import type { CompiledRule } from './compile.ts'
import type { Facts } from './facts.ts'
import type { IndexKey, NarrowedClause, Narrowing } from '../rule-index/index-key.ts'
import { type IndexShape, RuleIndex } from '../rule-index/rule-index.ts'
import type { AuthorizationMatch, StringMatch } from '../ztunnel/authorization.ts'

export type L4Index = RuleIndex<CompiledRule, Facts>

export function createL4Index(): L4Index {
  return new RuleIndex(shape)
}

const shape: IndexShape<CompiledRule, Facts> = {
  order(a, b) {
    if (a.policy.key === b.policy.key) return a.rule - b.rule
    return a.policy.key < b.policy.key ? -1 : 1
  },
  attributes: {
    principal: { kind: 'text', of: facts => facts.principal },
    account: { kind: 'text', of: facts => facts.account },
    namespace: { kind: 'text', of: facts => facts.namespace },
    sourceIp: { kind: 'address', of: facts => facts.sourceIp },
    destinationIp: { kind: 'address', of: facts => facts.destinationIp },
    port: { kind: 'number', of: facts => facts.destinationPort },
  },
  clauses({ policy, rule }) {
    const deny = policy.authorization.action === 'Deny'
    const clauses = policy.authorization.rules[rule]?.clauses ?? []
    // A clause without matches holds for everything; a match that sets nothing never holds and is none of several.
    return clauses.flatMap(({ matches }): readonly NarrowedClause[] =>
      matches.length === 0
        ? []
        : [matches.filter(match => !isEmpty(match)).map(match => narrowingsOf(match, deny))],
    )
  },
}

function narrowingsOf(match: AuthorizationMatch, deny: boolean): readonly Narrowing[] {
  const found: Narrowing[] = []
  const add = (narrowing: Narrowing | undefined): void => {
    if (narrowing !== undefined) found.push(narrowing)
  }
  const { principals, namespaces, serviceAccounts, destinationPorts } = match
  if (principals.length > 0) add(stringKeys('principal', principals))
  if (serviceAccounts.length > 0) add(exact('account', serviceAccounts.map(accountKey)))
  if (namespaces.length > 0) add(stringKeys('namespace', namespaces))
  if (match.sourceIps.length > 0) add(blockKeys('sourceIp', match.sourceIps, deny))
  if (match.destinationIps.length > 0) add(blockKeys('destinationIp', match.destinationIps, deny))
  if (destinationPorts.length > 0) add(exact('port', destinationPorts))
  return found
}

function exact(of: string, values: readonly (string | number)[]): Narrowing {
  return values.map(value => ({ of, form: 'exact', value }))
}

function stringKeys(of: string, matches: readonly StringMatch[]): Narrowing | undefined {
  const keys: IndexKey[] = []
  for (const match of matches) {
    if (match.kind === 'presence') return undefined
    keys.push({ of, form: match.kind, value: match.value })
  }
  return keys
}

/** What cannot be read matches nothing in an ALLOW and everything in a DENY. */
function blockKeys(of: string, blocks: readonly string[], deny: boolean): Narrowing | undefined {
  const read = blocks.map(readCidr)
  if (deny && read.includes(undefined)) return undefined
  return read.flatMap((value): Narrowing => (value === undefined ? [] : [{ of, form: 'block', value }]))
}

function isEmpty(match: AuthorizationMatch): boolean {
  for (const attribute of ATTRIBUTES) if (match[attribute].length > 0) return false
  return true
}
