/** Whether an identity of Istio's form passes the identity fields of a source, as ztunnel compares them. */
import type { PolicySource } from '../documents/authorization-policy.ts'
import { globTest, textTest } from '../waypoint/text-match.ts'

/** Fields of other things than identity are taken to hold. */
export function matchesPrincipal(source: PolicySource, principal: string, policyNamespace: string): boolean {
  const [, , namespace = '', , account = ''] = principal.split('/')
  const isPrincipal = (values: readonly string[]): boolean =>
    textTest(values, { star: 'not-empty' })(principal)
  const isNamespace = (values: readonly string[]): boolean => values.some(value => globTest(value)(namespace))
  const isAccount = (values: readonly string[]): boolean =>
    values.some(
      value => (value.includes('/') ? value : `${policyNamespace}/${value}`) === `${namespace}/${account}`,
    )
  const holds = (
    values: readonly string[] | undefined,
    notValues: readonly string[] | undefined,
    test: (values: readonly string[]) => boolean,
  ): boolean => (values === undefined || test(values)) && (notValues === undefined || !test(notValues))
  return (
    holds(source.principals, source.notPrincipals, isPrincipal) &&
    holds(source.namespaces, source.notNamespaces, isNamespace) &&
    holds(source.serviceAccounts, source.notServiceAccounts, isAccount)
  )
}
