/** Objects of which mostly the metadata counts: Namespace, ServiceAccount, Node. */
import { readMetadata, type YamlReader } from '@ambient/policy'
import { dataplaneModeLabel } from '../ambient/enrolment.ts'
import { labelReader } from './context.ts'
import { namespaceSpecFields, nodeSpecFields, objectFields, serviceAccountFields } from './fields.ts'
import type { NamespaceResource, NodeResource, ServiceAccountResource } from './types.ts'

export function readNamespace(root: YamlReader): NamespaceResource | undefined {
  const object = root.object(objectFields)
  const metadata = object && readMetadata(object, 'cluster')
  object?.get('spec')?.object(namespaceSpecFields)
  if (metadata === undefined) return undefined
  warnUnknownMode(root)
  return { kind: 'Namespace', metadata, source: root.position }
}

export function readServiceAccount(root: YamlReader): ServiceAccountResource | undefined {
  const object = root.object(serviceAccountFields)
  const metadata = object && readMetadata(object)
  return metadata && { kind: 'ServiceAccount', metadata, source: root.position }
}

export function readNode(root: YamlReader): NodeResource | undefined {
  const object = root.object(objectFields)
  const metadata = object && readMetadata(object, 'cluster')
  object?.get('spec')?.object(nodeSpecFields)
  return metadata && { kind: 'Node', metadata, source: root.position }
}

/** A cluster takes any value and then does nothing with it. */
function warnUnknownMode(root: YamlReader): void {
  const reader = labelReader(root, dataplaneModeLabel)
  const mode = reader?.string()
  if (mode === undefined || mode === 'ambient' || mode === 'none') return
  reader?.problem(
    `expected ambient or none, found ${JSON.stringify(mode)}: the namespace is not in the mesh`,
    'warning',
  )
}
