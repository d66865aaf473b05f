/** A whole text of policies at once: for files that hold nothing else, and for programs that want one call. */
import type { AuthorizationPolicy } from './authorization-policy.ts'
import type { PeerAuthentication } from './peer-authentication.ts'
import type { RequestAuthentication } from './request-authentication.ts'
import { rememberPositions } from './positions.ts'
import { readAuthorizationPolicy } from './read-authorization-policy.ts'
import { readPeerAuthentication } from './read-peer-authentication.ts'
import { readRequestAuthentication } from './read-request-authentication.ts'
import { documentError } from '../errors.ts'
import { type Problem, quote } from '../yaml/problem.ts'
import { readYaml } from '../yaml/read-yaml.ts'
import type { YamlReader } from '../yaml/reader.ts'

const KINDS = 'AuthorizationPolicy, PeerAuthentication or RequestAuthentication'

export interface PolicyDocuments {
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  readonly peerAuthentications: readonly PeerAuthentication[]
  readonly requestAuthentications: readonly RequestAuthentication[]
  readonly problems: readonly Problem[]
}

/** Reads every document; those with errors are left out and told about. Never throws. */
export function readPolicies(text: string, file: string): PolicyDocuments {
  const { documents, problems } = readYaml(text, file)
  const authorizationPolicies: AuthorizationPolicy[] = []
  const peerAuthentications: PeerAuthentication[] = []
  const requestAuthentications: RequestAuthentication[] = []
  for (const { kind, root } of documents) {
    if (kind === 'AuthorizationPolicy') add(authorizationPolicies, readWithPositions(root))
    else if (kind === 'PeerAuthentication') add(peerAuthentications, readPeerAuthentication(root))
    else if (kind === 'RequestAuthentication') add(requestAuthentications, readRequestAuthentication(root))
    else root.problem(`expected kind ${KINDS}, found ${quote(kind)}`)
  }
  return { authorizationPolicies, peerAuthentications, requestAuthentications, problems }
}

/**
 * Whole text or nothing.
 * @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with every problem, when one of them is an error.
 */
export function parsePolicies(text: string, file: string): PolicyDocuments {
  const result = readPolicies(text, file)
  const errors = result.problems.filter(problem => problem.severity === 'error')
  if (errors.length > 0) throw documentError(errors)
  return result
}

function readWithPositions(root: YamlReader): AuthorizationPolicy | undefined {
  const policy = readAuthorizationPolicy(root)
  if (policy !== undefined) rememberPositions(policy, root)
  return policy
}

function add<T>(list: T[], item: T | undefined): void {
  if (item !== undefined) list.push(item)
}
