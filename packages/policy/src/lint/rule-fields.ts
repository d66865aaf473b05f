/** The fields of a rule one by one, whether they stand in a source, an operation or a condition. */
import type { PolicyRuleSpec } from '../documents/authorization-policy.ts'

export interface RuleField {
  /** In the document: `spec.rules[0].from[1].source.notPrincipals`, `spec.rules[0].when[2].values`. */
  readonly path: string
  readonly clause: 'from' | 'to' | 'when'
  /** Which source, operation or condition. */
  readonly alternative: number
  /** What is compared, by its `when` key: `source.principal`, `destination.port`, `paths`. */
  readonly key: string
  readonly negated: boolean
  readonly values: readonly string[]
}

/** `when` keys of the fields that have one; the others have their own name. */
const KEY_OF_FIELD: Readonly<Record<string, string>> = {
  principals: 'source.principal',
  requestPrincipals: 'request.auth.principal',
  namespaces: 'source.namespace',
  serviceAccounts: 'source.serviceAccount',
  trustDomains: 'source.trustDomain',
  ipBlocks: 'source.ip',
  remoteIpBlocks: 'remote.ip',
  ports: 'destination.port',
}

export function fieldsOf(rule: PolicyRuleSpec, index: number): readonly RuleField[] {
  const at = `spec.rules[${index}]`
  const { from = [], to = [], when = [] } = rule
  return [
    ...from.flatMap(({ source }, i) =>
      partFields('from', i, `${at}.from[${i}].source`, Object.entries(source)),
    ),
    ...to.flatMap(({ operation }, i) =>
      partFields('to', i, `${at}.to[${i}].operation`, Object.entries(operation)),
    ),
    ...when.flatMap(({ key, values, notValues }, i) =>
      (
        [
          ['values', values],
          ['notValues', notValues],
        ] as const
      ).flatMap(([name, list]) =>
        list === undefined || list.length === 0
          ? []
          : [
              {
                path: `${at}.when[${i}].${name}`,
                clause: 'when' as const,
                alternative: i,
                key,
                negated: name === 'notValues',
                values: list,
              },
            ],
      ),
    ),
  ]
}

function partFields(
  clause: 'from' | 'to',
  alternative: number,
  at: string,
  entries: readonly (readonly [string, readonly string[] | undefined])[],
): readonly RuleField[] {
  return entries.flatMap(([name, values]) => {
    if (values === undefined || values.length === 0) return []
    const negated = name.startsWith('not')
    const field = negated ? name.slice(3, 4).toLowerCase() + name.slice(4) : name
    return [
      { path: `${at}.${name}`, clause, alternative, key: KEY_OF_FIELD[field] ?? field, negated, values },
    ]
  })
}
