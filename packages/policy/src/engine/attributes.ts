/** One attribute of a match as a predicate over facts. Decision and explanation use the same ones. */
import { type Cidr, cidrContains } from '@ambient/core'
import { readCidr } from './read-cidr.ts'
import type { Facts } from './facts.ts'
import type {
  Authorization,
  AuthorizationAttribute,
  AuthorizationMatch,
  ServiceAccountMatch,
  StringMatch,
} from '../ztunnel/authorization.ts'

export type Test = (facts: Facts) => boolean

type TextTest = (value: string) => boolean

/** So many values of one attribute are compared one by one. */
const MAX_WALKED = 8

/** All of them; those that most matches set come first. */
export const ATTRIBUTES: readonly AuthorizationAttribute[] = [
  'namespaces',
  'principals',
  'serviceAccounts',
  'destinationPorts',
  'sourceIps',
  'destinationIps',
  'notNamespaces',
  'notPrincipals',
  'notServiceAccounts',
  'notDestinationPorts',
  'notSourceIps',
  'notDestinationIps',
]

export interface AttributeTest {
  readonly attribute: AuthorizationAttribute
  readonly test: Test
}

/**
 * The attributes that a match sets, cheapest first. Without an identity a positive identity attribute is false and a
 * negative one true.
 *
 * An address block that cannot be read matches whatever makes the verdict stricter: nothing in an ALLOW, everything in
 * a DENY, the other way round when negated.
 */
export function attributeTests(
  match: AuthorizationMatch,
  action: Authorization['action'],
): readonly AttributeTest[] {
  const tests: AttributeTest[] = []
  const deny = action === 'Deny'
  const add = (attribute: AuthorizationAttribute, test: Test | undefined): void => {
    if (test !== undefined) tests.push({ attribute, test })
  }
  add('destinationPorts', portTest(match.destinationPorts))
  add('notDestinationPorts', not(portTest(match.notDestinationPorts)))
  add('principals', principalTest(match.principals))
  add('notPrincipals', not(principalTest(match.notPrincipals)))
  add('serviceAccounts', accountTest(match.serviceAccounts))
  add('notServiceAccounts', not(accountTest(match.notServiceAccounts)))
  add('namespaces', namespaceTest(match.namespaces))
  add('notNamespaces', not(namespaceTest(match.notNamespaces)))
  add('sourceIps', addressTest(match.sourceIps, sourceIp, deny))
  add('notSourceIps', not(addressTest(match.notSourceIps, sourceIp, !deny)))
  add('destinationIps', addressTest(match.destinationIps, destinationIp, deny))
  add('notDestinationIps', not(addressTest(match.notDestinationIps, destinationIp, !deny)))
  return tests
}

/** Blocks of a policy that cannot be read, for whoever wants to refuse or log it. */
export function unreadableBlocks(match: AuthorizationMatch): readonly string[] {
  const all = [match.sourceIps, match.notSourceIps, match.destinationIps, match.notDestinationIps]
  return all.flat().filter(text => readCidr(text) === undefined)
}

function not(test: Test | undefined): Test | undefined {
  return test && (facts => !test(facts))
}

function portTest(ports: readonly number[]): Test | undefined {
  const [only] = ports
  if (only === undefined) return undefined
  if (ports.length === 1) return facts => facts.destinationPort === only
  return facts => ports.includes(facts.destinationPort)
}

function principalTest(matches: readonly StringMatch[]): Test | undefined {
  const test = stringTest(matches)
  return test && (facts => facts.principal !== undefined && test(facts.principal))
}

function namespaceTest(matches: readonly StringMatch[]): Test | undefined {
  const test = stringTest(matches)
  return test && (facts => test(facts.namespace))
}

function accountTest(accounts: readonly ServiceAccountMatch[]): Test | undefined {
  const keys = accounts.map(accountKey)
  const [only] = keys
  if (only === undefined) return undefined
  if (keys.length === 1) return facts => facts.account === only
  const test = isOneOf(keys)
  return facts => facts.account !== undefined && test(facts.account)
}

/** As {@link Facts.account} writes it. */
export function accountKey(account: ServiceAccountMatch): string {
  return `${account.namespace}/${account.serviceAccount}`
}

/** Most ask for one value: a set for each would be most of what policies weigh. */
function stringTest(matches: readonly StringMatch[]): TextTest | undefined {
  const [only] = matches
  if (only === undefined) return undefined
  if (matches.length === 1) return oneTest(only)
  const exact = matches.flatMap(match => (match.kind === 'exact' ? [match.value] : []))
  const others = matches.filter(match => match.kind !== 'exact').map(oneTest)
  const isExact = isOneOf(exact)
  return others.length === 0 ? isExact : orOne(isExact, others)
}

function orOne(first: TextTest, others: readonly TextTest[]): TextTest {
  return value => {
    if (first(value)) return true
    for (const test of others) if (test(value)) return true
    return false
  }
}

/** Few are walked: a set weighs more than they do. */
function isOneOf(values: readonly string[]): TextTest {
  if (values.length <= MAX_WALKED) return value => values.includes(value)
  const set = new Set(values)
  return value => set.has(value)
}

function oneTest(match: StringMatch): TextTest {
  if (match.kind === 'presence') return isNotEmpty
  const { kind, value: wanted } = match
  switch (kind) {
    case 'exact':
      return value => value === wanted
    case 'prefix':
      return value => value.startsWith(wanted)
    case 'suffix':
      return value => value.endsWith(wanted)
  }
}

function isNotEmpty(value: string): boolean {
  return value !== ''
}

function sourceIp(facts: Facts): Uint8Array {
  return facts.sourceIp
}

function destinationIp(facts: Facts): Uint8Array {
  return facts.destinationIp
}

function addressTest(
  blocks: readonly string[],
  addressOf: (facts: Facts) => Uint8Array,
  unreadableMatches: boolean,
): Test | undefined {
  if (blocks.length === 0) return undefined
  const cidrs: Cidr[] = []
  for (const text of blocks) {
    const cidr = readCidr(text)
    if (cidr !== undefined) cidrs.push(cidr)
    else if (unreadableMatches) return () => true
  }
  return facts => {
    const address = addressOf(facts)
    for (const cidr of cidrs) if (cidrContains(cidr, address)) return true
    return false
  }
}
