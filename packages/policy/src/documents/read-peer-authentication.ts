/** Reads and checks a `PeerAuthentication` document. */
import type { MutualTlsMode, PeerAuthentication, PeerAuthenticationSpec } from './peer-authentication.ts'
import { openObject, readSelector } from './read-spec.ts'
import { quote } from '../yaml/problem.ts'
import type { YamlObject, YamlReader } from '../yaml/reader.ts'

const MODES = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'] as const

/**
 * Reads one document of `security.istio.io/v1` or `v1beta1`.
 * @returns `undefined` when it holds an error; every mistake is recorded, not only the first.
 */
export function readPeerAuthentication(reader: YamlReader): PeerAuthentication | undefined {
  const before = reader.errorCount
  const opened = openObject(reader, 'PeerAuthentication')
  if (opened === undefined) return undefined
  const fields = opened.spec?.object(['selector', 'mtls', 'portLevelMtls'])
  const spec = fields === undefined ? {} : readSpec(fields)
  if (reader.errorCount > before) return undefined
  return { kind: 'PeerAuthentication', metadata: opened.metadata, source: opened.source, spec }
}

function readSpec(spec: YamlObject): PeerAuthenticationSpec {
  const selector = readSelector(spec.get('selector'), 'allowed')
  const tls = spec.get('mtls')
  const mtls = tls === undefined ? undefined : readMode(tls)
  const ports = spec.get('portLevelMtls')
  const portLevelMtls = ports === undefined ? undefined : readPorts(ports)
  if (ports?.kind === 'object' && portLevelMtls?.size === 0)
    ports.problem('expected at least one port, found none')
  if (portLevelMtls !== undefined && Object.keys(selector?.matchLabels ?? {}).length === 0)
    spec.problemAt('portLevelMtls', 'expected with a selector of at least one label only')
  return {
    ...(selector === undefined ? {} : { selector }),
    ...(mtls === undefined ? {} : { mtls }),
    ...(portLevelMtls === undefined ? {} : { portLevelMtls }),
  }
}

function readMode(reader: YamlReader): { readonly mode?: MutualTlsMode } | undefined {
  const mode = reader.object(['mode'])?.get('mode')?.oneOf(MODES)
  return mode === undefined ? {} : { mode }
}

function readPorts(reader: YamlReader): ReadonlyMap<number, { readonly mode?: MutualTlsMode }> {
  const ports = new Map<number, { readonly mode?: MutualTlsMode }>()
  const object = reader.object()
  for (const key of object?.keys ?? []) {
    if (!/^[1-9][0-9]{0,4}$/.test(key) || Number(key) > 65535)
      object?.problemAt(key, `expected a port from 1 to 65535 as key, found ${quote(key)}`)
    const value = object?.get(key)
    ports.set(Number(key), (value && readMode(value)) ?? {})
  }
  return ports
}
