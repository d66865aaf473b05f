/** Names, targets and lists of values, as builders take them, in the form of a manifest. */
import type { MetadataTerms, ObjectName, OneOrMore, TargetTerms } from './terms.ts'

const GROUPS: Readonly<Record<TargetTerms['kind'], string>> = {
  Service: '',
  ServiceEntry: 'networking.istio.io',
  Gateway: 'gateway.networking.k8s.io',
  GatewayClass: 'gateway.networking.k8s.io',
}

export function metadataDraft(name: ObjectName, terms: MetadataTerms): Readonly<Record<string, unknown>> {
  const slash = name.indexOf('/')
  const namespace = terms.namespace ?? (slash < 0 ? undefined : name.slice(0, slash))
  return {
    name: name.slice(slash + 1),
    ...(namespace === undefined ? {} : { namespace }),
    ...(terms.labels === undefined ? {} : { labels: terms.labels }),
    ...(terms.annotations === undefined ? {} : { annotations: terms.annotations }),
  }
}

export function targetDraft({ kind, name }: TargetTerms): Readonly<Record<string, unknown>> {
  return { group: GROUPS[kind], kind, name }
}

/** Lists of strings, as the API has them: `8080` and `'GET'` become `['8080']` and `['GET']`. */
export function listsOf(fields: object): Readonly<Record<string, readonly string[]>> {
  const lists: [string, readonly string[]][] = []
  for (const [name, value] of Object.entries(fields))
    if (value !== undefined) lists.push([name, listOf(value)])
  return Object.fromEntries(lists)
}

export function listOf(value: OneOrMore<string | number>): readonly string[] {
  const values: readonly (string | number)[] = Array.isArray(value) ? value : [value]
  return values.map(String)
}
