/** Parts that several kinds of traffic management share: value matches, header operations, CORS, labels. */
import type { YamlObject, YamlReader } from '@ambient/policy'
import { readMetadata } from '@ambient/policy'
import type { ConfigurationObject } from './traffic-types.ts'
import {
  type HeaderModifier,
  type HeaderOperations,
  type HeaderValue,
  type NamedMatch,
  noModifier,
  type ValueMatch,
} from './traffic-types.ts'
import { objectFields } from './fields.ts'
import { writtenAt } from './json.ts'
import { headerName, readHeaderName, readHeaderValue, readRegex } from './read-values.ts'

const MATCH_FORMS = ['exact', 'prefix', 'regex'] as const
const CLAIMS = '@request.auth.claims'

/** Opens an object of these kinds; `undefined` when it has no name or no spec. */
export function openConfiguration(
  root: YamlReader,
  fields: readonly string[],
): (Pick<ConfigurationObject, 'metadata' | 'source' | 'written'> & { spec: YamlObject }) | undefined {
  const object = root.object(objectFields)
  const metadata = object && readMetadata(object)
  const reader = object?.required('spec')
  const spec = reader?.object(fields)
  if (metadata === undefined || spec === undefined) return undefined
  return { metadata, source: root.position, written: writtenAt(reader), spec }
}

/** Istio's `StringMatch`. */
export function readValueMatch(reader: YamlReader): ValueMatch | undefined {
  const object = reader.object(MATCH_FORMS)
  const [kind, other] = MATCH_FORMS.filter(form => object?.has(form))
  if (object === undefined) return undefined
  if (kind === undefined || other !== undefined) {
    // A form that nobody knows was reported already.
    const unknown = kind === undefined && object.keys.length > 0
    if (!unknown) reader.problem('expected exactly one of exact, prefix, regex')
    return undefined
  }
  const value = kind === 'regex' ? readRegex(object.get(kind)) : object.get(kind)?.string()
  return value === undefined ? undefined : { kind, value }
}

/** Without a form, or with the regex `*`, it is enough to be there. */
export function readPresenceMatch(reader: YamlReader): ValueMatch | undefined {
  const object = reader.kind === 'null' ? undefined : reader.object(MATCH_FORMS)
  if (reader.kind === 'null' || object?.keys.length === 0) return { kind: 'presence' }
  const regex = object?.get('regex')
  if (regex?.kind === 'string' && regex.string() === '*') return { kind: 'presence' }
  return readValueMatch(reader)
}

/** Headers by name; `presence` is what an empty value means. */
export function readHeaderMatches(reader: YamlReader | undefined): readonly NamedMatch[] {
  const matches = reader?.map((value, key): NamedMatch | undefined => {
    if (key.startsWith(CLAIMS)) {
      value.problem(
        'routes by claims are for gateways, as Istio has it: at a waypoint this never matches',
        'warning',
      )
      return { name: key, match: { kind: 'presence' } }
    }
    const name = headerName(key, value)
    const match = readPresenceMatch(value)
    return name === undefined || match === undefined ? undefined : { name, match }
  })
  return [...(matches?.values() ?? [])]
}

export function readQueryMatches(reader: YamlReader | undefined): readonly NamedMatch[] {
  const matches = reader?.map((value, name): NamedMatch | undefined => {
    const match = readPresenceMatch(value)
    return match && { name, match }
  })
  return [...(matches?.values() ?? [])]
}

/** Istio's `Headers`: maps of what is set and added, a list of what is removed. */
export function readHeaderOperations(reader: YamlReader | undefined): HeaderOperations {
  const object = reader?.object(['request', 'response'])
  return {
    request: readOperations(object?.get('request')),
    response: readOperations(object?.get('response')),
  }
}

function readOperations(reader: YamlReader | undefined): HeaderModifier {
  const object = reader?.object(['set', 'add', 'remove'])
  if (object === undefined) return noModifier
  const values = (field: 'set' | 'add'): readonly HeaderValue[] => [
    ...(object
      .get(field)
      ?.map((item, key): HeaderValue | undefined => {
        const name = writableName(headerName(key, item), item)
        const value = readHeaderValue(item)
        return name === undefined || value === undefined ? undefined : [name, value]
      })
      .values() ?? []),
  ]
  return { set: values('set'), add: values('add'), remove: readRemoved(object.get('remove')) }
}

/** Of the Gateway API: lists of name and value. */
export function readModifierLists(reader: YamlReader | undefined): HeaderModifier | undefined {
  const object = reader?.object(['set', 'add', 'remove'])
  if (object === undefined || reader === undefined) return undefined
  const values = (field: 'set' | 'add'): readonly HeaderValue[] => {
    const seen = new Set<string>()
    const list = object.get(field)?.list((item): HeaderValue | undefined => {
      const pair = item.object(['name', 'value'])
      const nameReader = pair?.required('name')
      const name = nameReader && writableName(readHeaderName(nameReader), nameReader)
      const valueReader = pair?.required('value')
      const value = valueReader && readHeaderValue(valueReader)
      if (name === undefined || value === undefined) return undefined
      if (seen.has(name)) nameReader?.problem(`the header ${name} is there twice`)
      seen.add(name)
      return [name, value]
    })
    return list ?? []
  }
  return { set: values('set'), add: values('add'), remove: readRemoved(object.get('remove')) }
}

/** Of pseudo-headers only the authority may be written, which rewrites it. */
function writableName(name: string | undefined, reader: YamlReader): string | undefined {
  if (name === undefined || !name.startsWith(':') || name === ':authority') return name
  reader.problem(`the header ${name} cannot be changed`)
  return undefined
}

/** Pseudo-headers and the host make a request what it is: they cannot go. */
function readRemoved(reader: YamlReader | undefined): readonly string[] {
  return (
    reader?.list(item => {
      const name = readHeaderName(item)
      if (name !== 'host' && name?.startsWith(':') !== true) return name
      item.problem(`the header ${name} cannot be removed`)
      return undefined
    }) ?? []
  )
}

/** Lists of plain text, such as methods and header names. */
export function readTexts(reader: YamlReader | undefined): readonly string[] {
  return reader?.list(item => item.text()) ?? []
}
