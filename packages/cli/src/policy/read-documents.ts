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
  type Problem,
  type ReadOptions,
  readAuthorizationPolicy,
  readPeerAuthentication,
  readRequestAuthentication,
  readYaml,
  rememberPositions,
  type RequestAuthentication,
  type YamlDocument,
} from '@ambient/policy'
import { CliError } from '../errors.ts'
import type { CliHost } from '../host.ts'

export interface PolicyFiles {
  /** As the user would write the path; `-` for standard input. */
  readonly files: readonly { readonly path: string; readonly text: string }[]
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
  const authorizationPolicies = documents.flatMap(document => {
    const { root } = document
    const policy =
      policyKindOf(document) === 'AuthorizationPolicy' ? readAuthorizationPolicy(root, options) : undefined
    if (policy !== undefined) rememberPositions(policy, root)
    return policy ?? []
  })
  const peerAuthentications = documents.flatMap(document =>
    policyKindOf(document) === 'PeerAuthentication' ? (readPeerAuthentication(document.root) ?? []) : [],
  )
  const requestAuthentications = documents.flatMap(document =>
    policyKindOf(document) === 'RequestAuthentication'
      ? (readRequestAuthentication(document.root) ?? [])
      : [],
  )
  const problems = yaml.flatMap(file => file.problems)
  const errors = problems.filter(({ severity }) => severity === 'error')
  const warnings = problems.filter(({ severity }) => severity === 'warning')
  for (const warning of warnings) host.stderr(`${formatProblem(warning)}\n`)
  if (errors.length > 0) throw new CliError('AMBIENT_E_CLI_DOCUMENTS', errors.map(withoutSeverity).join('\n'))
  return {
    files,
    authorizationPolicies,
    peerAuthentications,
    requestAuthentications,
    others: documents.filter(document => policyKindOf(document) === undefined),
    warnings,
  }
}

const POLICY_KINDS = ['AuthorizationPolicy', 'PeerAuthentication', 'RequestAuthentication'] as const

/** Other meshes have kinds of these names too. A document that does not say whose it is, is a mistake of ours. */
function policyKindOf({ kind, apiVersion }: YamlDocument): (typeof POLICY_KINDS)[number] | undefined {
  if (apiVersion !== '' && !apiVersion.startsWith('security.istio.io/')) return undefined
  return POLICY_KINDS.find(one => one === kind)
}

/** What scripts take apart: `file:line:column: message`. */
export function withoutSeverity(problem: Problem): string {
  return formatProblem(problem).replace(/^(.*?:\d+:\d+: )error: /, '$1')
}

async function readFiles(paths: readonly string[], host: CliHost): Promise<PolicyFiles['files']> {
  const files: { readonly path: string; readonly text: string }[] = []
  for (const path of paths) files.push(...(await readPath(path, host)))
  return files
}

async function readPath(path: string, host: CliHost): Promise<PolicyFiles['files']> {
  if (path === '-') return [{ path, text: await text(host.input) }]
  try {
    if (!(await stat(path)).isDirectory()) return [{ path, text: await readFile(path, 'utf8') }]
    const inFolder = await readManifestFolder(path)
    return inFolder.map(file => ({ path: join(path, file.path), text: file.text }))
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_USAGE', `-f ${quoteText(path)} cannot be read: ${messageOf(cause)}`, {
      cause,
    })
  }
}
