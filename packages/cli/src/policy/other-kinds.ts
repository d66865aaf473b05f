/** Kinds that nobody here runs, as far as policies ask about them: whose pods there are, and which outside services. */
import type { YamlDocument, YamlReader } from '@ambient/policy'

export interface OtherPods {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly ports: readonly number[]
}

export interface OtherService {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly hostname: string
  readonly ports: readonly number[]
}

/** From the document to the template of its pods. */
const TEMPLATES: ReadonlyMap<string, readonly string[]> = new Map([
  ['StatefulSet', ['spec', 'template']],
  ['DaemonSet', ['spec', 'template']],
  ['ReplicaSet', ['spec', 'template']],
  ['Job', ['spec', 'template']],
  ['CronJob', ['spec', 'jobTemplate', 'spec', 'template']],
])

export function readOtherPods(documents: readonly YamlDocument[]): readonly OtherPods[] {
  return documents.flatMap(({ kind, root, namespace, name }) => {
    const path = TEMPLATES.get(kind)
    const template = path && at(root, ...path)
    if (template === undefined) return []
    const account = textAt(template, 'spec', 'serviceAccountName')
    return [
      {
        namespace: namespace || 'default',
        name,
        labels: labelsOf(at(template, 'metadata', 'labels')),
        serviceAccount: account === '' ? 'default' : account,
        ports: items(at(template, 'spec', 'containers')).flatMap(container =>
          items(at(container, 'ports')).flatMap(port => numberAt(port, 'containerPort')),
        ),
      },
    ]
  })
}

export function readServiceEntries(documents: readonly YamlDocument[]): readonly OtherService[] {
  return documents
    .filter(({ kind }) => kind === 'ServiceEntry')
    .map(({ root, namespace, name }) => ({
      namespace: namespace || 'default',
      name,
      labels: labelsOf(at(root, 'metadata', 'labels')),
      hostname: String(items(at(root, 'spec', 'hosts'))[0]?.toJson() ?? ''),
      ports: items(at(root, 'spec', 'ports')).flatMap(port => numberAt(port, 'number')),
    }))
}

function at(reader: YamlReader, ...path: readonly string[]): YamlReader | undefined {
  let found: YamlReader | undefined = reader
  for (const key of path) found = found?.kind === 'object' ? found.object()?.get(key) : undefined
  return found
}

function items(reader: YamlReader | undefined): readonly YamlReader[] {
  return reader?.kind === 'list' ? reader.list(item => item) : []
}

function textAt(reader: YamlReader, ...path: readonly string[]): string {
  const value = at(reader, ...path)?.toJson()
  return typeof value === 'string' ? value : ''
}

function numberAt(reader: YamlReader, key: string): readonly number[] {
  const value = at(reader, key)?.toJson()
  return typeof value === 'number' ? [value] : []
}

function labelsOf(reader: YamlReader | undefined): Readonly<Record<string, string>> {
  const value = reader?.toJson()
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).map(([key, label]) => [key, String(label)]))
}
