/** One attribute of a match as a predicate over facts. Decision and explanation use the same ones. */
import { type Cidr, CoreError, cidrContains, parseCidr } from '@ambient/core'
import type { Facts } from './facts.ts'
import type {
  Authorization,
  AuthorizationAttribute,
  AuthorizationMatch,
  ServiceAccountMatch,
  StringMatch,
} from '../ztunnel/authorization.ts'

export type Test = (facts: Facts) => boolean

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
  const set = new Set(ports)
  return facts => set.has(facts.destinationPort)
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
  if (accounts.length === 0) return undefined
  const set = new Set(accounts.map(accountKey))
  return facts => facts.account !== undefined && set.has(facts.account)
}

/** As {@link Facts.account} writes it. */
export function accountKey(account: ServiceAccountMatch): string {
  return `${account.namespace}/${account.serviceAccount}`
}

function stringTest(matches: readonly StringMatch[]): ((value: string) => boolean) | undefined {
  if (matches.length === 0) return undefined
  const exact = new Set<string>()
  const prefixes: string[] = []
  const suffixes: string[] = []
  let presence = false
  for (const match of matches) {
    if (match.kind === 'presence') presence = true
    else if (match.kind === 'exact') exact.add(match.value)
    else (match.kind === 'prefix' ? prefixes : suffixes).push(match.value)
  }
  return value => {
    if ((presence && value !== '') || exact.has(value)) return true
    for (const prefix of prefixes) if (value.startsWith(prefix)) return true
    for (const suffix of suffixes) if (value.endsWith(suffix)) return true
    return false
  }
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

function readCidr(text: string): Cidr | undefined {
  try {
    return parseCidr(text)
  } catch (error) {
    if (error instanceof CoreError) return undefined
    throw error
  }
}
