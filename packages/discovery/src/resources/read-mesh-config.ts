/** The ConfigMap `istio` of the root namespace, whose key `mesh` is the mesh's configuration, as istiod reads it. */
import { readMeshConfig, readMetadata, type YamlReader } from '@ambient/policy'
import type { CollectorContext } from './kind-readers.ts'
import type { MeshConfigResource } from './types.ts'

const CONFIG_MAP_FIELDS = ['apiVersion', 'kind', 'metadata', 'data', 'binaryData', 'immutable'] as const

/** Istio's name for it, of a control plane without a revision. */
const NAME = 'istio'

/** `undefined` for any other ConfigMap, which is somebody else's, and for one with mistakes. */
export function readMeshConfigMap(
  root: YamlReader,
  { rootNamespace }: CollectorContext,
): MeshConfigResource | undefined {
  const object = root.object(CONFIG_MAP_FIELDS)
  const metadata = object && readMetadata(object)
  if (object === undefined || metadata === undefined) return undefined
  if (metadata.name !== NAME || metadata.namespace !== rootNamespace) {
    root.problem('ConfigMap (v1) is not acted upon here', 'warning')
    return undefined
  }
  const mesh = object.get('data')?.object()?.get('mesh')
  if (mesh === undefined) return undefined
  const config = mesh.embedded(text => readMeshConfig(text, mesh.position.file))
  const text = mesh.string()
  if (config === undefined || text === undefined) return undefined
  return { kind: 'ConfigMap', metadata, source: root.position, config, text }
}
