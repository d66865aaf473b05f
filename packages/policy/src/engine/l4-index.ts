/** How rules over connections are found: by identity, port or address. */
import { type Cidr, CoreError, parseCidr } from '@ambient/core'
import { accountKey } from './attributes.ts'
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
  const { principals, namespaces, serviceAccounts, destinationPorts } = match
  const exact = (of: string, values: readonly (string | number)[]): Narrowing =>
    values.map(value => ({ of, form: 'exact', value }))
  return [
    ...stringKeys('principal', principals),
    ...(serviceAccounts.length === 0 ? [] : [exact('account', serviceAccounts.map(accountKey))]),
    ...stringKeys('namespace', namespaces),
    ...blockKeys('sourceIp', match.sourceIps, deny),
    ...blockKeys('destinationIp', match.destinationIps, deny),
    ...(destinationPorts.length === 0 ? [] : [exact('port', destinationPorts)]),
  ]
}

function stringKeys(of: string, matches: readonly StringMatch[]): readonly Narrowing[] {
  if (matches.length === 0) return []
  const keys: IndexKey[] = []
  for (const match of matches) {
    if (match.kind === 'presence') return []
    keys.push({ of, form: match.kind, value: match.value })
  }
  return [keys]
}

/** What cannot be read matches nothing in an ALLOW and everything in a DENY. */
function blockKeys(of: string, blocks: readonly string[], deny: boolean): readonly Narrowing[] {
  if (blocks.length === 0) return []
  const read = blocks.map(readCidr)
  if (deny && read.includes(undefined)) return []
  return [read.flatMap(value => (value === undefined ? [] : [{ of, form: 'block', value }]))]
}

function isEmpty(match: AuthorizationMatch): boolean {
  for (const values of Object.values(match)) if (values.length > 0) return false
  return true
}

function readCidr(text: string): Cidr | undefined {
  try {
    return parseCidr(text)
  } catch (error) {
    if (error instanceof CoreError) return undefined
    throw error
  }
}
