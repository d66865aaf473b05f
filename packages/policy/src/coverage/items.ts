/** What of a policy a test can exercise: its rules, their clauses, and the alternatives within a clause. */
import type { AuthorizationPolicy, PolicyOperation, PolicyRuleSpec, PolicySource } from '../documents/authorization-policy.ts'
import { positionsOf } from '../documents/positions.ts'

export type CoverageKind = 'rule' | 'clause' | 'alternative'

/** One thing to exercise. */
export interface CoverageItem {
  readonly kind: CoverageKind
  /** `namespace/name`. */
  readonly policy: string
  /** Counts from 0. */
  readonly rule: number
  /** `rules[0].from[1].source.namespaces[0]`. */
  readonly path: string
  /** Where it was written; absent for a policy that was built. */
  readonly file?: string
  readonly line?: number
  readonly column?: number
}

/** An alternative, and its rule with no other one left in its clause: matches when the alternative does. */
export interface AlternativeItem extends CoverageItem {
  readonly kind: 'alternative'
  readonly alone: PolicyRuleSpec
}

/**
 * Everything to exercise in a policy, in the order of the document. A clause is `from`, `to` or one `when`; an alternative
 * is one of several sources or operations, or one of several values of a field: none of those of `not…` fields, which are
 * no alternatives.
 */
export function coverageItems(policy: AuthorizationPolicy): readonly (CoverageItem | AlternativeItem)[] {
  const positions = positionsOf(policy)
  const name = `${policy.metadata.namespace}/${policy.metadata.name}`
  const place = (path: string): Pick<CoverageItem, 'file' | 'line' | 'column'> => {
    const at = positions.get(path) ?? policy.source
    return at === undefined ? {} : { file: at.file, line: at.line, column: at.column }
  }
  return (policy.spec.rules ?? []).flatMap((rule, index) => {
    const start = `rules[${index}]`
    const item = { policy: name, rule: index }
    return [
      { ...item, kind: 'rule' as const, path: start, ...place(start) },
      ...clausesOf(rule).map(clause => {
        const path = `${start}.${clause}`
        return { ...item, kind: 'clause' as const, path, ...place(path) }
      }),
      ...alternativesOf(rule).map(({ path: within, alone }) => {
        const path = `${start}.${within}`
        return { ...item, kind: 'alternative' as const, path, alone, ...place(path) }
      }),
    ]
  })
}

/** Where the item's count is kept: the same for the same place in the same file, whoever read it. */
export function coverageKey({ file, policy, path }: CoverageItem): string {
  return JSON.stringify([file ?? '', policy, path])
}

interface Alternative {
  readonly path: string
  readonly alone: PolicyRuleSpec
}

/** As traces call them. */
function clausesOf({ from, to, when }: PolicyRuleSpec): readonly string[] {
  return [
    ...(from === undefined ? [] : ['from']),
    ...(to === undefined ? [] : ['to']),
    ...(when ?? []).map((_, index) => `when[${index}]`),
  ]
}

function alternativesOf(rule: PolicyRuleSpec): readonly Alternative[] {
  const { from = [], to = [], when = [] } = rule
  const sources = from.flatMap((item, index) => [
    ...(from.length > 1 ? [{ path: `from[${index}]`, alone: { ...rule, from: [item] } }] : []),
    ...valuesOf(item.source, source => ({ ...rule, from: [{ source }] }), `from[${index}].source`),
  ])
  const operations = to.flatMap((item, index) => [
    ...(to.length > 1 ? [{ path: `to[${index}]`, alone: { ...rule, to: [item] } }] : []),
    ...valuesOf(item.operation, operation => ({ ...rule, to: [{ operation }] }), `to[${index}].operation`),
  ])
  const conditions = when.flatMap((condition, index) => {
    const { values = [] } = condition
    if (values.length < 2) return []
    return values.map((value, at) => ({
      path: `when[${index}].values[${at}]`,
      alone: { ...rule, when: when.map(other => (other === condition ? { ...condition, values: [value] } : other)) },
    }))
  })
  return [...sources, ...operations, ...conditions]
}

/** One alternative per value of each field that has several. */
function valuesOf<T extends PolicySource | PolicyOperation>(
  fields: T,
  ruleOf: (fields: T) => PolicyRuleSpec,
  path: string,
): readonly Alternative[] {
  const entries: readonly [string, readonly string[] | undefined][] = Object.entries(fields)
  return entries.flatMap(([field, values = []]) =>
    field.startsWith('not') || values.length < 2
      ? []
      : values.map((value, index) => ({
          path: `${path}.${field}[${index}]`,
          alone: ruleOf({ ...fields, [field]: [value] }),
        })),
  )
}
