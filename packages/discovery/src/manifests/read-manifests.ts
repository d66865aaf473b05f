/** A set of manifest files to typed resources, with every mistake of all of them and its position. */
import { formatProblem, type Problem, readYaml, type YamlDocument, type YamlFile } from '@ambient/policy'
import type { Known, ReferenceCheck, SelectablePods } from '../resources/context.ts'
import { isJsonObject, writtenAt } from '../resources/json.ts'
import { createCollector, type KindReader, kindReaders } from '../resources/kind-readers.ts'
import { builtInNamespaces, isClusterScoped, judgeKind } from '../resources/kinds.ts'
import type { PodSpec, Resources } from '../resources/types.ts'

export interface ManifestFile {
  /** As it is to appear in messages. */
  readonly path: string
  readonly text: string
}

export interface Manifests {
  /** Documents without errors. */
  readonly resources: Resources
  /** By file, in the order of the files, and by position. */
  readonly problems: readonly Problem[]
}

export interface ReadManifestsOptions {
  /** Whose policies are for every namespace. */
  readonly rootNamespace?: string
}

/** istiod's default. */
const DEFAULT_ROOT_NAMESPACE = 'istio-system'

/**
 * Reads everything, or says why not: YAML errors, unknown fields and enums, wrong types, duplicates, references to
 * nothing. Never throws. Kinds that we do not act on are warnings.
 */
export function readManifests(files: readonly ManifestFile[], options: ReadManifestsOptions = {}): Manifests {
  const checks: ReferenceCheck[] = []
  const collector = createCollector({
    check: check => void checks.push(check),
    rootNamespace: options.rootNamespace ?? DEFAULT_ROOT_NAMESPACE,
  })
  const yamlFiles = files.map(file => readYaml(file.text, file.path))
  const acted = yamlFiles.flatMap(file => file.documents).flatMap(document => readerOf(document))
  const otherHosts = serviceEntryHosts(yamlFiles.flatMap(file => file.documents))
  reportDuplicates(acted.map(({ document }) => document))
  for (const { document, read } of acted) {
    checkNamespace(document, checks)
    read(document.root, collector)
  }
  const known = knownNames(
    acted.map(({ document }) => document),
    collector.resources,
    otherHosts,
  )
  for (const check of checks) check(known)
  return { resources: collector.resources, problems: yamlFiles.flatMap(sortedProblems) }
}

/** One line per problem, for a terminal or an error message. */
export function formatProblems(problems: readonly Problem[]): string {
  return problems.map(formatProblem).join('\n')
}

interface ActedDocument {
  readonly document: YamlDocument
  readonly read: KindReader
}

function readerOf(document: YamlDocument): ActedDocument[] {
  const verdict = judgeKind(document)
  const read = verdict === 'acted' ? kindReaders.get(document.kind) : undefined
  if (read !== undefined) return [{ document, read }]
  if (verdict === 'other')
    document.root.problem(`${document.kind} (${document.apiVersion}) is not acted upon here`, 'warning')
  return []
}

function reportDuplicates(documents: readonly YamlDocument[]): void {
  const first = new Map<string, YamlDocument>()
  for (const document of documents) {
    const { kind, name } = document
    if (name === '') continue
    const key = `${kind} ${qualifiedName(document)}`
    const earlier = first.get(key)?.position
    if (earlier === undefined) first.set(key, document)
    else
      nameReader(document)?.problem(
        `duplicate ${key}: it is defined at ${earlier.file}:${earlier.line}:${earlier.column}`,
      )
  }
}

function nameReader({ root }: YamlDocument) {
  return root.object()?.get('metadata')?.object()?.get('name')
}

/** `namespace/name` as a cluster would have it. */
function qualifiedName({ kind, namespace, name }: YamlDocument): string {
  return isClusterScoped(kind) ? name : `${namespace || 'default'}/${name}`
}

function checkNamespace({ root, kind, namespace }: YamlDocument, checks: ReferenceCheck[]): void {
  if (isClusterScoped(kind) || namespace === '' || builtInNamespaces.includes(namespace)) return
  checks.push(({ namespaces }) => {
    if (namespaces.size === 0 || namespaces.has(namespace)) return
    const reader = root.object()?.get('metadata')?.object()?.get('namespace')
    reader?.problem(`refers to the Namespace ${namespace}, which is not defined`)
  })
}

/** Names count also when their documents have errors, so that one mistake is not reported as many. */
function knownNames(
  documents: readonly YamlDocument[],
  resources: Resources,
  otherHosts: ReadonlySet<string>,
): Known {
  const namesOf = (kind: string): ReadonlySet<string> =>
    new Set(documents.filter(document => document.kind === kind).map(qualifiedName))
  const pods = [
    ...resources.deployments.map(({ metadata, spec }) =>
      selectable(metadata.namespace, spec.template.labels, spec.template.spec),
    ),
    ...resources.pods.map(({ metadata, spec }) => selectable(metadata.namespace, metadata.labels, spec)),
  ]
  const written = documents.filter(({ kind }) => kind === 'Deployment' || kind === 'Pod').length
  return {
    namespaces: namesOf('Namespace'),
    serviceAccounts: namesOf('ServiceAccount'),
    nodes: namesOf('Node'),
    pods: pods.length === written ? pods : undefined,
    namespaceObjects: new Map(resources.namespaces.map(object => [object.metadata.name, object])),
    services: byName(namesOf('Service'), resources.services),
    otherHosts,
    gateways: byName(namesOf('Gateway'), resources.gateways),
    virtualServices: resources.virtualServices,
    destinationRules:
      namesOf('DestinationRule').size === resources.destinationRules.length
        ? resources.destinationRules
        : undefined,
  }
}

/** Names of documents with errors stand for nothing that could be looked into. */
function byName<T extends { readonly metadata: { readonly namespace: string; readonly name: string } }>(
  names: ReadonlySet<string>,
  objects: readonly T[],
): ReadonlyMap<string, T | undefined> {
  const found = new Map(
    objects.map(object => [`${object.metadata.namespace}/${object.metadata.name}`, object]),
  )
  return new Map([...names].map(name => [name, found.get(name)]))
}

/** Read without judging: nothing else of them counts here. */
function serviceEntryHosts(documents: readonly YamlDocument[]): ReadonlySet<string> {
  return new Set(
    documents
      .filter(({ kind }) => kind === 'ServiceEntry')
      .flatMap(({ root }) => {
        const hosts = writtenAt(root)['spec']
        const list = isJsonObject(hosts) ? hosts['hosts'] : undefined
        return Array.isArray(list) ? list.map(String) : []
      }),
  )
}

function selectable(namespace: string, labels: SelectablePods['labels'], spec: PodSpec): SelectablePods {
  const names = spec.containers.flatMap(({ ports }) => ports.flatMap(({ name }) => name ?? []))
  return { namespace, labels, serviceAccount: spec.serviceAccountName, portNames: new Set(names) }
}

function sortedProblems(file: YamlFile): readonly Problem[] {
  return [...file.problems].sort((a, b) => a.line - b.line || a.column - b.column)
}
