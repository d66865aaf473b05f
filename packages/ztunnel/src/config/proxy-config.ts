/** ProxyConfig: the `defaultConfig` of the mesh file, and `PROXY_CONFIG` over it (YAML, few fields read). */
import { parse } from 'yaml'
import { messageOf } from '@ambient/core'
import { ZtunnelError } from '../errors.ts'

export interface ProxyConfig {
  readonly discoveryAddress?: string
  readonly proxyAdminPort?: number
  readonly statsPort?: number
  readonly proxyMetadata: Readonly<Record<string, string>>
}

/**
 * The two documents merged: fields of `proxyConfig` win, metadata is joined.
 * @throws ZtunnelError `AMBIENT_E_CONFIG`
 */
export function readProxyConfig(documents: {
  /** Text of the mesh file. */
  readonly mesh: string | undefined
  /** Value of `PROXY_CONFIG`. */
  readonly proxyConfig: string | undefined
}): ProxyConfig {
  const meshDocument = asObject(documents.mesh, 'mesh config')
  const fromMesh = readFields(asRecord(meshDocument['defaultConfig']) ?? {}, 'mesh config defaultConfig')
  const fromVariable = readFields(asObject(documents.proxyConfig, 'PROXY_CONFIG'), 'PROXY_CONFIG')
  return {
    ...fromMesh,
    ...fromVariable,
    proxyMetadata: { ...fromMesh.proxyMetadata, ...fromVariable.proxyMetadata },
  }
}

function readFields(document: Readonly<Record<string, unknown>>, where: string): ProxyConfig {
  const port = (name: string): number | undefined => {
    const value = document[name]
    if (value === undefined || value === null) return undefined
    if (typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536) return value
    return fail(`${where}: ${name} must be a port, found ${JSON.stringify(value)}`)
  }
  const address = document['discoveryAddress']
  if (address !== undefined && address !== null && typeof address !== 'string')
    fail(`${where}: discoveryAddress must be text`)
  const admin = port('proxyAdminPort')
  const stats = port('statsPort')
  return {
    ...(typeof address === 'string' ? { discoveryAddress: address } : {}),
    ...(admin === undefined ? {} : { proxyAdminPort: admin }),
    ...(stats === undefined ? {} : { statsPort: stats }),
    proxyMetadata: readMetadata(document['proxyMetadata'], where),
  }
}

function readMetadata(value: unknown, where: string): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {}
  const record = asRecord(value) ?? fail(`${where}: proxyMetadata must be a mapping`)
  const metadata: Record<string, string> = {}
  for (const [key, entry] of Object.entries(record)) metadata[key.replace(/^ISTIO_META_/, '')] = String(entry)
  return metadata
}

function asObject(text: string | undefined, where: string): Readonly<Record<string, unknown>> {
  if (text === undefined || text.trim() === '') return {}
  let document: unknown
  try {
    document = parse(text, { maxAliasCount: 0 })
  } catch (error) {
    return fail(`${where} is not valid YAML: ${messageOf(error)}`, error)
  }
  if (document === null || document === undefined) return {}
  return asRecord(document) ?? fail(`${where} must be a mapping`)
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return Object.fromEntries(Object.entries(value))
}

function fail(message: string, cause?: unknown): never {
  throw new ZtunnelError('AMBIENT_E_CONFIG', message, { cause, layer: 'config' })
}
