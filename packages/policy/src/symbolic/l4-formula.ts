/** Rules of the L4 form as formulas, as ztunnel evaluates them. */
import { formatCidr } from '@ambient/core'
import type { Formula, Formulas } from './formula.ts'
import { readCidr } from '../engine/read-cidr.ts'
import type { AuthorizationMatch, AuthorizationRule, StringMatch } from '../ztunnel/authorization.ts'

export function l4RuleFormula({ clauses }: AuthorizationRule, formulas: Formulas): Formula {
  return formulas.and(
    clauses.map(({ matches }) =>
      matches.length === 0
        ? formulas.always
        : formulas.or(matches.map(match => matchFormula(match, formulas))),
    ),
  )
}

/** A match that sets nothing never matches. */
function matchFormula(match: AuthorizationMatch, formulas: Formulas): Formula {
  const parts: Formula[] = []
  const add = (set: boolean, formula: () => Formula, negated = false): void => {
    if (set) parts.push(negated ? formulas.not(formula()) : formula())
  }
  const texts = (form: string, values: readonly StringMatch[]) => (): Formula =>
    formulas.atom('principal', form, values.map(asText))
  const accounts = (values: AuthorizationMatch['serviceAccounts']) => (): Formula =>
    formulas.atom(
      'principal',
      'l4-account',
      values.map(({ namespace, serviceAccount }) => `${namespace}/${serviceAccount}`),
    )
  const ports = (values: readonly number[]) => (): Formula =>
    formulas.atom('port', 'port', values.map(String))
  add(match.principals.length > 0, texts('principal', match.principals))
  add(match.notPrincipals.length > 0, texts('principal', match.notPrincipals), true)
  add(match.namespaces.length > 0, texts('l4-namespace', match.namespaces))
  add(match.notNamespaces.length > 0, texts('l4-namespace', match.notNamespaces), true)
  add(match.serviceAccounts.length > 0, accounts(match.serviceAccounts))
  add(match.notServiceAccounts.length > 0, accounts(match.notServiceAccounts), true)
  add(match.destinationPorts.length > 0, ports(match.destinationPorts))
  add(match.notDestinationPorts.length > 0, ports(match.notDestinationPorts), true)
  const blocks = (dimension: string, values: readonly string[], negated = false): void => {
    // istiod drops those that it cannot read.
    const readable = values.flatMap(canonical)
    add(readable.length > 0, () => formulas.atom(dimension, 'address', readable), negated)
  }
  blocks('source.ip', match.sourceIps)
  blocks('source.ip', match.notSourceIps, true)
  blocks('destination.ip', match.destinationIps)
  blocks('destination.ip', match.notDestinationIps, true)
  return parts.length === 0 ? formulas.never : formulas.and(parts)
}

function canonical(block: string): readonly string[] {
  const cidr = readCidr(block)
  return cidr === undefined ? [] : [formatCidr(cidr)]
}

/** Istio's form, which reads back as the same. */
function asText(match: StringMatch): string {
  switch (match.kind) {
    case 'presence':
      return '*'
    case 'prefix':
      return `${match.value}*`
    case 'suffix':
      return `*${match.value}`
    default:
      return match.value
  }
}
