/** ztunnel's local configuration (`LOCAL_XDS_PATH`): workloads, services and policies of a mesh without control plane. */
import { type PortMap, type Service, serviceKey, type Workload } from '@ambient/core'
import {
  type Authorization,
  authorizationKey,
  formatProblem,
  type PolicyStore,
  readYaml,
  type YamlReader,
} from '@ambient/policy'
import type { WritableDirectory } from '../directory/directory.ts'
import { DiscoveryError } from '../errors.ts'
import { readLocalPolicy } from './read-policy.ts'
import { type LocalService, readLocalService } from './read-service.ts'
import { readLocalWorkload } from './read-workload.ts'

export interface LocalConfig {
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
  readonly policies: readonly Authorization[]
}

/**
 * Reads the whole file or nothing. Unknown fields are errors.
 * @throws DiscoveryError `AMBIENT_E_LOCAL_CONFIG`: one line `file:line:column: error: …` per mistake.
 */
export function readLocalConfig(text: string, file: string): LocalConfig {
  const { documents, problems } = readYaml(text, file)
  const [document, second] = documents
  second?.root.problem('expected one document in the file')
  const config = document === undefined ? emptyConfig : readDocument(document.root)
  const errors = problems.filter(({ severity }) => severity === 'error')
  if (errors.length > 0)
    throw new DiscoveryError('AMBIENT_E_LOCAL_CONFIG', errors.map(formatProblem).join('\n'), {
      layer: 'config',
    })
  return config
}

/** Puts a file in the place of everything that was known before. */
export function applyLocalConfig(
  config: LocalConfig,
  directory: WritableDirectory,
  policies: Pick<PolicyStore, 'replace'>,
): void {
  policies.replace(config.policies)
  directory.replace({ workloads: config.workloads, services: config.services })
}

const emptyConfig: LocalConfig = Object.freeze({ workloads: [], services: [], policies: [] })

function readDocument(root: YamlReader): LocalConfig {
  const object = root.object(['workloads', 'services', 'policies'])
  if (object === undefined) return emptyConfig
  const workloads = uniqueList(object.get('workloads'), readLocalWorkload, ({ uid }) => uid)
  const services = uniqueList(object.get('services'), readLocalService, ({ service }) => serviceKey(service))
  const policies = uniqueList(object.get('policies'), readLocalPolicy, authorizationKey)
  return {
    workloads: withEndpoints(workloads, services),
    services: services.map(({ service }) => service),
    policies,
  }
}

function uniqueList<T>(
  reader: YamlReader | undefined,
  read: (item: YamlReader) => T | undefined,
  keyOf: (value: T) => string,
): readonly T[] {
  const keys = new Set<string>()
  return (
    reader?.list(item => {
      const value = read(item)
      if (value === undefined) return undefined
      if (keys.has(keyOf(value))) item.problem(`duplicate ${JSON.stringify(keyOf(value))}`)
      keys.add(keyOf(value))
      return value
    }) ?? []
  )
}

/** A service may name its endpoints too: then the workload belongs to it as if it had said so itself. */
function withEndpoints(
  workloads: readonly Workload[],
  services: readonly LocalService[],
): readonly Workload[] {
  const claims = new Map<string, Map<string, PortMap>>(workloads.map(({ uid }) => [uid, new Map()]))
  for (const { service, endpoints } of services)
    for (const { uid, ports, reader } of endpoints) {
      const claimed = claims.get(uid)
      if (claimed === undefined)
        reader.problem(`refers to the workload ${JSON.stringify(uid)}, which is not defined`)
      else claimed.set(serviceKey(service), ports)
    }
  return workloads.map(workload => {
    const claimed = claims.get(workload.uid)
    if (claimed === undefined || claimed.size === 0) return workload
    return { ...workload, services: new Map([...claimed, ...workload.services]) }
  })
}
