/** One policy of a local file. */
import type {
  Authorization,
  AuthorizationMatch,
  ServiceAccountMatch,
  StringMatch,
  YamlObject,
  YamlReader,
} from '@ambient/policy'
import { readBlock } from './read-parts.ts'

const FIELDS = ['name', 'namespace', 'scope', 'action', 'rules', 'dryRun'] as const

const MATCH_FIELDS = [
  'namespaces',
  'notNamespaces',
  'serviceAccounts',
  'notServiceAccounts',
  'principals',
  'notPrincipals',
  'sourceIps',
  'notSourceIps',
  'destinationIps',
  'notDestinationIps',
  'destinationPorts',
  'notDestinationPorts',
] as const

const PORT_RANGE = { min: 0, max: 65535 }

export function readLocalPolicy(reader: YamlReader): Authorization | undefined {
  const object = reader.object(FIELDS)
  const name = object?.required('name')?.text()
  const namespace = object?.required('namespace')?.text()
  const scope = object?.required('scope')?.oneOf(['Global', 'Namespace', 'WorkloadSelector'])
  const action = object?.required('action')?.oneOf(['Allow', 'Deny'])
  const rules = object?.required('rules')?.list(rule => ({
    clauses: rule.list(clause => ({ matches: clause.list(readMatch) })),
  }))
  const dryRun = object?.required('dryRun')?.boolean()
  if (name === undefined || namespace === undefined || scope === undefined) return undefined
  if (action === undefined || rules === undefined || dryRun === undefined) return undefined
  return { name, namespace, scope, action, dryRun, rules }
}

function readMatch(reader: YamlReader): AuthorizationMatch | undefined {
  const object = reader.object(MATCH_FIELDS)
  if (object === undefined) return undefined
  return {
    namespaces: strings(object, 'namespaces'),
    notNamespaces: strings(object, 'notNamespaces'),
    principals: strings(object, 'principals'),
    notPrincipals: strings(object, 'notPrincipals'),
    serviceAccounts: object.get('serviceAccounts')?.list(readAccount) ?? [],
    notServiceAccounts: object.get('notServiceAccounts')?.list(readAccount) ?? [],
    sourceIps: object.get('sourceIps')?.list(readBlock) ?? [],
    notSourceIps: object.get('notSourceIps')?.list(readBlock) ?? [],
    destinationIps: object.get('destinationIps')?.list(readBlock) ?? [],
    notDestinationIps: object.get('notDestinationIps')?.list(readBlock) ?? [],
    destinationPorts: object.get('destinationPorts')?.list(item => item.integer(PORT_RANGE)) ?? [],
    notDestinationPorts: object.get('notDestinationPorts')?.list(item => item.integer(PORT_RANGE)) ?? [],
  }
}

function strings(object: YamlObject, field: (typeof MATCH_FIELDS)[number]): readonly StringMatch[] {
  return object.get(field)?.list(readString) ?? []
}

/** `Exact: text`, `Prefix: text`, `Suffix: text` or `Presence: []`. */
function readString(reader: YamlReader): StringMatch | undefined {
  const object = reader.object(['Exact', 'Prefix', 'Suffix', 'Presence'])
  if (object === undefined) return undefined
  const [key, ...rest] = object.keys
  const value = (field: 'Exact' | 'Prefix' | 'Suffix'): string | undefined => object.required(field)?.string()
  if (rest.length > 0 || key === undefined) reader.problem('expected one of Exact, Prefix, Suffix, Presence')
  else if (key === 'Presence') return { kind: 'presence' }
  else if (key === 'Exact') return withValue('exact', value(key))
  else if (key === 'Prefix') return withValue('prefix', value(key))
  else if (key === 'Suffix') return withValue('suffix', value(key))
  return undefined
}

function withValue(kind: 'exact' | 'prefix' | 'suffix', value: string | undefined): StringMatch | undefined {
  return value === undefined ? undefined : { kind, value }
}

function readAccount(reader: YamlReader): ServiceAccountMatch | undefined {
  const object = reader.object(['namespace', 'serviceAccount'])
  const namespace = object?.required('namespace')?.string()
  const serviceAccount = object?.required('serviceAccount')?.string()
  return namespace === undefined || serviceAccount === undefined ? undefined : { namespace, serviceAccount }
}
