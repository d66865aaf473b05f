/** Answers by example, where one caller settles it: exact answers cost milliseconds each. */
import { matchesPrincipal } from './principals.ts'
import type { PolicyOperation, PolicyRuleSpec, PolicySource } from '../documents/authorization-policy.ts'
import { textTest } from '../waypoint/text-match.ts'

/** Whether a caller that fulfils the rule's identity fields is known. Conditions are not looked at. */
export function hasKnownCaller({ from = [] }: PolicyRuleSpec, namespace: string): boolean {
  return from.some(({ source }) => callerOf(source, namespace) !== undefined)
}

/** A caller that the first source of the rule takes, where one is known. */
export function knownCaller({ from = [] }: PolicyRuleSpec, namespace: string): string | undefined {
  const source = from[0]?.source
  return source && callerOf(source, namespace)
}

/**
 * `true`: something that the first rule takes the second does not. `false` says nothing.
 * @param caller the first rule's known one: pairs are many, rules are few
 */
export function isRefuted(
  first: PolicyRuleSpec,
  caller: string | undefined,
  second: PolicyRuleSpec,
  namespace: string,
): boolean {
  if (caller !== undefined && second.from !== undefined)
    if (!second.from.some(each => matchesPrincipal(each.source, caller, namespace))) return true
  const operation = first.to?.[0]?.operation
  return (
    operation !== undefined &&
    second.to !== undefined &&
    !second.to.some(each => mayTake(each.operation, operation))
  )
}

/** A principal that the source takes, of a value without wildcards; `undefined` when none is at hand. */
function callerOf(source: PolicySource, policyNamespace: string): string | undefined {
  const plain = (values: readonly string[] = []): string | undefined =>
    values.find(value => !value.includes('*'))
  const account = source.serviceAccounts?.[0]
  const [namespace, name] = account?.includes('/') ? account.split('/') : [policyNamespace, account]
  const candidates = [
    plain(source.principals),
    name === undefined ? undefined : `cluster.local/ns/${namespace}/sa/${name}`,
    plain(source.namespaces) === undefined
      ? undefined
      : `cluster.local/ns/${plain(source.namespaces)}/sa/somebody`,
  ]
  return candidates.find(
    candidate => candidate !== undefined && matchesPrincipal(source, candidate, policyNamespace),
  )
}

/** By the first port and the first method of the other. */
function mayTake(operation: PolicyOperation, other: PolicyOperation): boolean {
  const port = other.ports?.[0]
  const method = other.methods?.find(value => !value.includes('*'))
  const takes = (values: readonly string[] | undefined, value: string | undefined): boolean =>
    values === undefined || value === undefined || textTest(values, { star: 'present' })(value)
  return takes(operation.ports, port) && takes(operation.methods, method)
}
