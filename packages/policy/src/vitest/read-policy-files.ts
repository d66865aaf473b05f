/** Policies from files and folders, at once: what a test does before it begins. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { messageOf } from '@ambient/core'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import { type PolicyKind, policyKindOf } from '../documents/policy-kind.ts'
import { rememberPositions } from '../documents/positions.ts'
import { readAuthorizationPolicy } from '../documents/read-authorization-policy.ts'
import { readPeerAuthentication } from '../documents/read-peer-authentication.ts'
import { readRequestAuthentication } from '../documents/read-request-authentication.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import { documentError, PolicyError } from '../errors.ts'
import { readYaml, type YamlDocument } from '../yaml/read-yaml.ts'

/** A file or folder; relative paths start at the working directory. */
export type PolicyPath = string | URL

export interface PolicyFileDocuments {
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  readonly peerAuthentications: readonly PeerAuthentication[]
  readonly requestAuthentications: readonly RequestAuthentication[]
}

/**
 * Reads every YAML and JSON file; documents of other kinds are passed over, and so are files of tests.
 * @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with every mistake as `file:line:column: …`, for a path that cannot be
 * read, and when there is no document of ours in any of them
 */
export function readPolicyFiles(paths: readonly PolicyPath[]): PolicyFileDocuments {
  const files = paths.flatMap(path => filesOf(typeof path === 'string' ? path : fileURLToPath(path)))
  const yaml = files.map(file => readYaml(readText(file), shown(file)))
  const documents = yaml.flatMap(file => file.documents)
  const kinds = new Map(documents.map(document => [document, policyKindOf(document)]))
  const read = <T>(kind: PolicyKind, one: (document: YamlDocument) => T | undefined): readonly T[] =>
    documents.flatMap(document => (kinds.get(document) === kind ? (one(document) ?? []) : []))
  const authorizationPolicies = read('AuthorizationPolicy', ({ root }) => {
    const policy = readAuthorizationPolicy(root)
    if (policy !== undefined) rememberPositions(policy, root)
    return policy
  })
  const peerAuthentications = read('PeerAuthentication', ({ root }) => readPeerAuthentication(root))
  const requestAuthentications = read('RequestAuthentication', ({ root }) => readRequestAuthentication(root))
  const errors = yaml.flatMap(file => file.problems).filter(({ severity }) => severity === 'error')
  if (errors.length > 0) throw documentError(errors)
  if (authorizationPolicies.length + peerAuthentications.length + requestAuthentications.length === 0)
    throw new PolicyError('AMBIENT_E_POLICY_DOCUMENT', `no policy in ${paths.map(String).join(', ')}`)
  return { authorizationPolicies, peerAuthentications, requestAuthentications }
}

function filesOf(path: string): readonly string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    const entries = readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))
    return entries.flatMap(entry => {
      if (entry.name.startsWith('.') || entry.name === 'node_modules') return []
      if (entry.isDirectory()) return filesOf(join(path, entry.name))
      return isManifest(entry.name) ? [join(path, entry.name)] : []
    })
  } catch (cause) {
    throw unreadable(path, cause)
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw unreadable(file, cause)
  }
}

function unreadable(path: string, cause: unknown): PolicyError {
  if (cause instanceof PolicyError) return cause
  return new PolicyError('AMBIENT_E_POLICY_DOCUMENT', `${path} cannot be read: ${messageOf(cause)}`, {
    cause,
  })
}

function isManifest(name: string): boolean {
  return /\.(ya?ml|json)$/.test(name) && !/\.policy-test\.ya?ml$/.test(name)
}

/** As a person at the working directory would write it. */
function shown(file: string): string {
  return relative(process.cwd(), file) || file
}
