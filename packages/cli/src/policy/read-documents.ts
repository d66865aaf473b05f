/** The documents that `-f` names: files, folders, and `-` for standard input. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { messageOf, quoteText } from '@ambient/core'
import { readManifestFolder } from '@ambient/discovery'
import {
  type AuthorizationPolicy,
  formatProblem,
  type PeerAuthentication,
  type PolicyKind,
  policyKindOf,
  type PolicyObject,
  type Problem,
  type ReadOptions,
  readAuthorizationPolicy,
  readPeerAuthentication,
  readRequestAuthentication,
  readYaml,
  rememberPositions,
  type RequestAuthentication,
  type YamlDocument,
  type YamlFile,
  type YamlReader,
} from '@ambient/policy'
import { CliError } from '../errors.ts'
import type { CliHost } from '../host.ts'

export interface PolicyFile {
  readonly path: string
  readonly text: string
  /** Somebody named this file; those of a folder may be anything. */
  readonly named: boolean
}

export interface PolicyFiles {
  /** As the user would write the path; `-` for standard input. */
  readonly files: readonly PolicyFile[]
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  readonly peerAuthentications: readonly PeerAuthentication[]
  readonly requestAuthentications: readonly RequestAuthentication[]
  /** Of every other kind, unread: Services, Deployments, Gateways. */
  readonly others: readonly YamlDocument[]
  /** Warnings; they were printed. */
  readonly warnings: readonly Problem[]
}

/**
 * Reads all of it. Warnings go to standard error.
 * @throws CliError `AMBIENT_E_CLI_USAGE` when a path cannot be read
 * @throws CliError `AMBIENT_E_CLI_DOCUMENTS` with each mistake as `file:line:column: message`
 */
export async function readPolicyDocuments(
  paths: readonly string[],
  host: CliHost,
  options: ReadOptions = {},
): Promise<PolicyFiles> {
  const files = await readFiles(paths, host)
  const yaml = files.map(file => readYaml(file.text, file.path))
  const documents = yaml.flatMap(file => file.documents)
  for (const document of nameless(yaml, files))
    document.root.problem('expected an object of Kubernetes with "apiVersion" and "kind"')
  const kinds = new Map(documents.map(document => [document, policyKindOf(document)]))
  const read = <T>(kind: PolicyKind, one: (root: YamlReader) => T | undefined): readonly T[] =>
    documents.flatMap(document => (kinds.get(document) === kind ? (one(document.root) ?? []) : []))
  const authorizationPolicies = read('AuthorizationPolicy', root => {
    const policy = readAuthorizationPolicy(root, options)
    if (policy !== undefined) rememberPositions(policy, root)
    return policy
  })
  const peerAuthentications = read('PeerAuthentication', readPeerAuthentication)
  const requestAuthentications = read('RequestAuthentication', readRequestAuthentication)
  const problems = yaml.flatMap(file => file.problems)
  const errors = problems.filter(({ severity }) => severity === 'error')
  const warnings = problems.filter(({ severity }) => severity === 'warning')
  const all = [...authorizationPolicies, ...peerAuthentications, ...requestAuthentications]
  for (const warning of [...warnings, ...sameNames(all)]) host.stderr(`${formatProblem(warning)}\n`)
  if (errors.length > 0) throw new CliError('AMBIENT_E_CLI_DOCUMENTS', errors.map(withoutSeverity).join('\n'))
  if ([...kinds.values()].every(kind => kind === undefined))
    host.stderr(
      `note: no policies in ${paths.map(path => (path === '-' ? 'standard input' : path)).join(', ')}\n`,
    )
  return {
    files,
    authorizationPolicies,
    peerAuthentications,
    requestAuthentications,
    others: documents.filter(document => kinds.get(document) === undefined),
    warnings,
  }
}

type Named = PolicyObject & { readonly kind: string }

/** Of documents with one name the last one counts, as when they are applied: nobody means that. */
function sameNames(documents: readonly Named[]): readonly Problem[] {
  const last = new Map<string, Named>()
  return documents.flatMap((document): readonly Problem[] => {
    const name = `${document.kind} ${document.metadata.namespace}/${document.metadata.name}`
    const before = last.get(name)?.source
    last.set(name, document)
    if (before === undefined || document.source === undefined) return []
    const { file, line, column } = document.source
    const message = `${name} takes the place of the one at ${before.file}:${before.line}:${before.column}`
    return [{ file, line, column, severity: 'warning', message }]
  })
}

/** Documents of files that were named, and that are no objects of Kubernetes: passed over they would be no policies without a word. */
function nameless(yaml: readonly YamlFile[], files: readonly PolicyFile[]): readonly YamlDocument[] {
  return yaml.flatMap(({ documents }, index) =>
    files[index]?.named === true
      ? documents.filter(({ kind, apiVersion }) => kind === '' && apiVersion === '')
      : [],
  )
}

/** What scripts take apart: `file:line:column: message`. */
export function withoutSeverity(problem: Problem): string {
  return formatProblem(problem).replace(/^(.*?:\d+:\d+: )error: /, '$1')
}

async function readFiles(paths: readonly string[], host: CliHost): Promise<PolicyFiles['files']> {
  const files: PolicyFile[] = []
  for (const path of paths) files.push(...(await readPath(path, host)))
  return files
}

async function readPath(path: string, host: CliHost): Promise<PolicyFiles['files']> {
  if (path === '-') return [{ path, text: await text(host.input), named: true }]
  try {
    if (!(await stat(path)).isDirectory()) return [{ path, text: await readFile(path, 'utf8'), named: true }]
    const inFolder = await readManifestFolder(path)
    return inFolder.map(file => ({ path: join(path, file.path), text: file.text, named: false }))
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_USAGE', `-f ${quoteText(path)} cannot be read: ${messageOf(cause)}`, {
      cause,
    })
  }
}
