/** `istio.security.Authorization` to and from `@ambient/policy`'s words. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { ipFromBytes, parseCidr } from '@ambient/core'
import type { Authorization, AuthorizationMatch, StringMatch } from '@ambient/policy'
import {
  type Address,
  AddressSchema,
  AuthorizationSchema,
  ClauseSchema,
  type Match,
  MatchSchema,
  RuleSchema,
  ServiceAccountMatchSchema,
  type StringMatch as StringMatchMessage,
  StringMatchSchema,
} from '../gen/authorization_pb.js'
import { type Decoded, decode, readOptions } from './address.ts'
import { policyAction, policyScope, readEnum } from './enums.ts'

const PORT_MASK = 0xffff

/** Never throws. As in ztunnel, an unknown scope or action refuses the policy; an unusable value in a list is left out. */
export function decodeAuthorization(bytes: Uint8Array): Decoded<Authorization> {
  return decode(bytes, () => {
    const message = fromBinary(AuthorizationSchema, bytes, readOptions)
    return {
      name: message.name,
      namespace: message.namespace,
      scope: readEnum(policyScope, message.scope),
      action: readEnum(policyAction, message.action),
      dryRun: message.dryRun,
      rules: message.rules.map(rule => ({
        clauses: rule.clauses.map(clause => ({ matches: clause.matches.map(readMatch) })),
      })),
    }
  })
}

/** @throws CoreError `AMBIENT_E_CIDR` when an IP block of it is none. */
export function encodeAuthorization(policy: Authorization): Uint8Array {
  const message = create(AuthorizationSchema, {
    name: policy.name,
    namespace: policy.namespace,
    scope: policyScope.write(policy.scope),
    action: policyAction.write(policy.action),
    dryRun: policy.dryRun,
    rules: policy.rules.map(rule =>
      create(RuleSchema, {
        clauses: rule.clauses.map(clause =>
          create(ClauseSchema, { matches: clause.matches.map(writeMatch) }),
        ),
      }),
    ),
  })
  return toBinary(AuthorizationSchema, message)
}

function readMatch(match: Match): AuthorizationMatch {
  return {
    namespaces: match.namespaces.flatMap(readString),
    notNamespaces: match.notNamespaces.flatMap(readString),
    principals: match.principals.flatMap(readString),
    notPrincipals: match.notPrincipals.flatMap(readString),
    serviceAccounts: match.serviceAccounts.map(readAccount),
    notServiceAccounts: match.notServiceAccounts.map(readAccount),
    sourceIps: match.sourceIps.flatMap(readBlock),
    notSourceIps: match.notSourceIps.flatMap(readBlock),
    destinationIps: match.destinationIps.flatMap(readBlock),
    notDestinationIps: match.notDestinationIps.flatMap(readBlock),
    destinationPorts: match.destinationPorts.map(port => port & PORT_MASK),
    notDestinationPorts: match.notDestinationPorts.map(port => port & PORT_MASK),
  }
}

function writeMatch(match: AuthorizationMatch): Match {
  return create(MatchSchema, {
    namespaces: match.namespaces.map(writeString),
    notNamespaces: match.notNamespaces.map(writeString),
    principals: match.principals.map(writeString),
    notPrincipals: match.notPrincipals.map(writeString),
    serviceAccounts: match.serviceAccounts.map(account => create(ServiceAccountMatchSchema, account)),
    notServiceAccounts: match.notServiceAccounts.map(account => create(ServiceAccountMatchSchema, account)),
    sourceIps: match.sourceIps.map(writeBlock),
    notSourceIps: match.notSourceIps.map(writeBlock),
    destinationIps: match.destinationIps.map(writeBlock),
    notDestinationIps: match.notDestinationIps.map(writeBlock),
    destinationPorts: [...match.destinationPorts],
    notDestinationPorts: [...match.notDestinationPorts],
  })
}

/** Nothing for a match without a type. */
function readString({ matchType }: StringMatchMessage): StringMatch[] {
  if (matchType.case === undefined) return []
  if (matchType.case === 'presence') return [{ kind: 'presence' }]
  return [{ kind: matchType.case, value: matchType.value }]
}

function writeString(match: StringMatch): StringMatchMessage {
  if (match.kind === 'presence')
    return create(StringMatchSchema, { matchType: { case: 'presence', value: {} } })
  return create(StringMatchSchema, { matchType: { case: match.kind, value: match.value } })
}

function readAccount(account: { namespace: string; serviceAccount: string }) {
  return { namespace: account.namespace, serviceAccount: account.serviceAccount }
}

/** Nothing for bytes that are no IP block. Blocks inside ::ffff:0:0/96 are blocks of IPv4. */
function readBlock({ address, length }: Address): string[] {
  const ip = ipFromBytes(address)
  if (ip === undefined) return []
  const bits = ip.includes(':') ? 128 : 32
  const prefixLength = length - (address.length * 8 - bits)
  if (prefixLength < 0 || prefixLength > bits) return []
  return [`${ip}/${prefixLength}`]
}

function writeBlock(text: string): Address {
  const cidr = parseCidr(text)
  return create(AddressSchema, { address: cidr.bytes, length: cidr.prefixLength })
}
