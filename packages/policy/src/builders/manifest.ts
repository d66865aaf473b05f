/** Documents as the manifests that `kubectl apply` and this package's readers take. */
import { Document, isMap, isScalar, isSeq, type Node, Scalar } from 'yaml'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { ObjectMeta } from '../documents/metadata.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import type { JwtRule, RequestAuthentication } from '../documents/request-authentication.ts'

/** One of the documents of `security.istio.io` that this package knows. */
export type SecurityDocument = AuthorizationPolicy | PeerAuthentication | RequestAuthentication

/** A document in the form of the Kubernetes API: plain JSON. */
export interface PolicyManifest {
  readonly apiVersion: 'security.istio.io/v1'
  readonly kind: SecurityDocument['kind']
  readonly metadata: Readonly<Record<string, unknown>>
  readonly spec: Readonly<Record<string, unknown>>
}

/** The manifest of a document, for `JSON.stringify` and Kubernetes clients. Reading it gives the same document. */
export function toManifest(document: SecurityDocument): PolicyManifest {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: document.kind,
    metadata: metadataOf(document.metadata),
    spec: specOf(document),
  }
}

/** One or several documents as YAML text. Reading it gives the same documents. */
export function toYaml(documents: SecurityDocument | readonly SecurityDocument[]): string {
  const list: readonly SecurityDocument[] = 'kind' in documents ? [documents] : documents
  return list.map(document => yamlOf(toManifest(document))).join('---\n')
}

/** Plain data as YAML in which every reader, of YAML 1.1 too, finds the strings that were meant. */
export function yamlOf(value: unknown): string {
  const document = new Document(value, { aliasDuplicateObjects: false })
  quoteStrings(document.contents)
  return document.toString({ lineWidth: 0 })
}

/** Words that no YAML takes for a number, and that are not among `WORDS_OF_YAML`. */
const PLAIN_WORD = /^[A-Za-z][\w./-]*$/
const WORDS_OF_YAML = /^(y|yes|n|no|on|off|true|false|null)$/i

function quoteStrings(node: Node | null): void {
  if (isMap<Node, Node | null>(node))
    for (const { key, value } of node.items) {
      quoteStrings(key)
      quoteStrings(value)
    }
  else if (isSeq<Node>(node)) node.items.forEach(quoteStrings)
  else if (isScalar(node) && typeof node.value === 'string' && !isPlain(node.value))
    node.type = Scalar.QUOTE_DOUBLE
}

function isPlain(text: string): boolean {
  return PLAIN_WORD.test(text) && !WORDS_OF_YAML.test(text)
}

function metadataOf(meta: ObjectMeta): Readonly<Record<string, unknown>> {
  const { name, namespace, labels, annotations, creationTimestamp } = meta
  return {
    name,
    ...(namespace === '' ? {} : { namespace }),
    ...(Object.keys(labels).length === 0 ? {} : { labels: { ...labels } }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations: { ...annotations } }),
    ...(creationTimestamp === undefined
      ? {}
      : { creationTimestamp: new Date(creationTimestamp).toISOString() }),
  }
}

function specOf(document: SecurityDocument): Readonly<Record<string, unknown>> {
  switch (document.kind) {
    case 'AuthorizationPolicy':
      return { ...document.spec }
    case 'PeerAuthentication': {
      const { portLevelMtls, ...rest } = document.spec
      if (portLevelMtls === undefined) return rest
      return { ...rest, portLevelMtls: Object.fromEntries(portLevelMtls) }
    }
    case 'RequestAuthentication': {
      const { jwtRules, ...rest } = document.spec
      return jwtRules === undefined ? rest : { ...rest, jwtRules: jwtRules.map(jwtRuleManifest) }
    }
  }
}

/** A duration is text in the API. */
export function jwtRuleManifest({ timeoutMs, ...rest }: JwtRule): Readonly<Record<string, unknown>> {
  return timeoutMs === undefined ? rest : { ...rest, timeout: `${timeoutMs / 1_000}s` }
}
