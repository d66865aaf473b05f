/**
 * One Envoy with a listener per set of policies. A PROXY header says who calls from where to where, so that one loopback
 * address stands for a whole mesh; the access log says what was decided, and by which rule.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
// Between two looks at Envoy's admin port, which is how it says that its listeners are there.
import { setTimeout as delay } from 'node:timers/promises'
import { envoyBinary } from '../hbone-envoy.ts'
import { type Json, PEER_PRINCIPAL, type RbacLane } from './rbac.ts'
import type { PathNormalization } from '@ambient/policy'

/** The TLV of a PROXY header in which ztunnel puts the caller's identity. */
export const PRINCIPAL_TLV = 0xd0
/** One of those for whoever wants them: the call's number, by which its line in the log is found. */
export const CALL_TLV = 0xe0

/** The filters of one set of policies, in the order in which they stand. */
export interface PolicyListener {
  readonly tcp: boolean
  readonly normalization: PathNormalization
  readonly custom?: RbacLane | undefined
  /** Of the JWT filter. */
  readonly jwt?: Json
  readonly audit?: RbacLane | undefined
  readonly deny?: RbacLane | undefined
  readonly allow?: RbacLane | undefined
  /** Headers of which the log says how they went on. */
  readonly shown?: readonly string[]
}

/** One line of the access log. */
export interface EnvoyRecord {
  /** The call's number. */
  readonly id: string
  readonly code: number | null
  readonly detail: string | null
  readonly path?: string | null
  readonly rbac: Readonly<Record<string, string>> | null
  readonly audited: boolean | string | null
  /** Those that were to be shown. */
  readonly headers?: Readonly<Record<string, string | null>>
}

export interface PolicyEnvoy {
  /** By the listeners' order. */
  readonly ports: readonly number[]
  /** Ends it and gives what it logged, by the calls' numbers. */
  readonly finish: () => Promise<ReadonlyMap<string, EnvoyRecord>>
  readonly stop: () => Promise<void>
}

const CALL_STATE = 'test.call'
const START_MS = 30_000
const type = (name: string): string => `type.googleapis.com/envoy.${name}`
const LOOPBACK = { socket_address: { address: '127.0.0.1', port_value: 0 } }

export async function startPolicyEnvoy(listeners: readonly PolicyListener[]): Promise<PolicyEnvoy> {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-envoy-policy-'))
  const [config, admin, log] = ['envoy.json', 'admin', 'access.log'].map(name => join(folder, name))
  if (config === undefined || admin === undefined || log === undefined) throw new Error('no file names')
  writeFileSync(config, JSON.stringify(bootstrap(listeners, log)))
  const places = [
    '-c',
    config,
    '--admin-address-path',
    admin,
    '--use-dynamic-base-id',
    '--disable-hot-restart',
  ]
  const child = spawn(
    envoyBinary,
    [...places, '--concurrency', '1', '-l', 'critical', '--file-flush-interval-msec', '50'],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill(signal)
    await once(child, 'exit')
  }
  const stop = async (): Promise<void> => {
    await end('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const ports = await listenerPorts(admin, () => child.exitCode !== null, listeners.length)
    return {
      ports,
      stop,
      async finish() {
        await end('SIGTERM')
        const records = readFileSync(log, 'utf8')
          .split('\n')
          .filter(line => line !== '')
          .map(line => JSON.parse(line) as EnvoyRecord)
        await stop()
        return new Map(records.map(record => [record.id, record]))
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function listenerPorts(
  adminFile: string,
  ended: () => boolean,
  count: number,
): Promise<readonly number[]> {
  const until = Date.now() + START_MS
  while (Date.now() < until && !ended()) {
    const address = await readFile(adminFile, 'utf8').catch(() => '')
    const answer = address === '' ? undefined : await fetch(`http://${address.trim()}/listeners?format=json`)
    const { listener_statuses: found = [] } =
      ((await answer?.json()) as {
        listener_statuses?: { name: string; local_address: { socket_address: { port_value: number } } }[]
      }) ?? {}
    if (found.length === count) {
      const ports = new Map(found.map(one => [one.name, one.local_address.socket_address.port_value]))
      return Array.from({ length: count }, (_, index) => ports.get(`set-${index}`) ?? 0)
    }
    await delay(50)
  }
  throw new Error(ended() ? 'Envoy did not take its configuration' : 'Envoy did not start')
}

function bootstrap(listeners: readonly PolicyListener[], log: string): Json {
  return {
    admin: { address: LOOPBACK },
    static_resources: {
      listeners: listeners.map((listener, index) => ({
        name: `set-${index}`,
        address: LOOPBACK,
        listener_filters: [proxyProtocol(), tlsInspector()],
        filter_chains: [
          { filters: [callerIdentity(), ...(listener.tcp ? tcpFilters(listener) : [http(listener, log)])] },
        ],
        ...(listener.tcp ? { access_log: [accessLog(log, true)] } : {}),
      })),
    },
  }
}

function proxyProtocol(): Json {
  return {
    name: 'envoy.filters.listener.proxy_protocol',
    typed_config: {
      '@type': type('extensions.filters.listener.proxy_protocol.v3.ProxyProtocol'),
      rules: [
        { tlv_type: PRINCIPAL_TLV, on_tlv_present: { key: 'principal' } },
        { tlv_type: CALL_TLV, on_tlv_present: { key: 'call' } },
      ],
    },
  }
}

function tlsInspector(): Json {
  const typed = { '@type': type('extensions.filters.listener.tls_inspector.v3.TlsInspector') }
  return { name: 'envoy.filters.listener.tls_inspector', typed_config: typed }
}

/** Into the filter state that a waypoint's RBAC reads. */
function callerIdentity(): Json {
  const kept = (key: string, from: string): Json => ({
    object_key: key,
    factory_key: 'envoy.string',
    format_string: {
      text_format_source: {
        inline_string: `%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol:${from})%`,
      },
      omit_empty_values: true,
    },
    skip_if_empty: true,
  })
  return {
    name: 'envoy.filters.network.set_filter_state',
    typed_config: {
      '@type': type('extensions.filters.network.set_filter_state.v3.Config'),
      on_new_connection: [kept(PEER_PRINCIPAL, 'principal'), kept(CALL_STATE, 'call')],
    },
  }
}

function lanesOf(listener: PolicyListener): readonly (readonly [string, RbacLane | undefined])[] {
  return [
    ['audit', listener.audit],
    ['deny', listener.deny],
    ['allow', listener.allow],
  ]
}

function tcpFilters(listener: PolicyListener): readonly Json[] {
  const rbac = ([name, lane]: readonly [string, RbacLane | undefined]): readonly Json[] =>
    lane === undefined
      ? []
      : [
          {
            name: 'envoy.filters.network.rbac',
            typed_config: {
              '@type': type('extensions.filters.network.rbac.v3.RBAC'),
              stat_prefix: 'tcp.',
              ...(lane.rules === undefined ? {} : { rules: lane.rules }),
              ...shadow(name, lane),
            },
          },
        ]
  const echo = { '@type': type('extensions.filters.network.echo.v3.Echo') }
  return [
    ...rbac(['custom', listener.custom]),
    ...lanesOf(listener).flatMap(rbac),
    { name: 'envoy.filters.network.echo', typed_config: echo },
  ]
}

function http(listener: PolicyListener, log: string): Json {
  const rbac = ([name, lane]: readonly [string, RbacLane | undefined]): readonly Json[] =>
    lane === undefined
      ? []
      : [
          {
            name: `rbac-${name}`,
            typed_config: {
              '@type': type('extensions.filters.http.rbac.v3.RBAC'),
              ...(lane.rules === undefined ? {} : { rules: lane.rules, rules_stat_prefix: `${name}_` }),
              ...shadow(name, lane),
            },
          },
        ]
  const answer = { status: 200, body: { inline_string: 'allowed' } }
  const routes = [{ match: { prefix: '/' }, direct_response: answer }]
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': type('extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
      stat_prefix: 'policy',
      ...normalizationOf(listener.normalization),
      use_remote_address: false,
      access_log: [accessLog(log, false, listener.shown)],
      route_config: { virtual_hosts: [{ name: 'any', domains: ['*'], routes }] },
      http_filters: [
        ...rbac(['custom', listener.custom]),
        ...(listener.jwt === undefined ? [] : [listener.jwt]),
        ...lanesOf(listener).flatMap(rbac),
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': type('extensions.filters.http.router.v3.Router') },
        },
      ],
    },
  }
}

function shadow(name: string, { shadow: rules }: RbacLane): Json {
  return rules === undefined
    ? {}
    : {
        shadow_rules: rules,
        shadow_rules_stat_prefix: name === 'custom' ? 'istio_ext_authz_' : `istio_dry_run_${name}_`,
      }
}

/** What istiod sets for each of `pathNormalization`'s modes. */
function normalizationOf(mode: PathNormalization): Json {
  return {
    normalize_path: mode !== 'NONE',
    merge_slashes: mode === 'MERGE_SLASHES' || mode === 'DECODE_AND_MERGE_SLASHES',
    path_with_escaped_slashes_action:
      mode === 'DECODE_AND_MERGE_SLASHES' ? 'UNESCAPE_AND_FORWARD' : 'KEEP_UNCHANGED',
  }
}

function accessLog(path: string, tcp: boolean, shown: readonly string[] = []): Json {
  const format = {
    id: `%FILTER_STATE(${CALL_STATE}:PLAIN)%`,
    code: '%RESPONSE_CODE%',
    detail: tcp ? '%CONNECTION_TERMINATION_DETAILS%' : '%RESPONSE_CODE_DETAILS%',
    path: '%REQ(:path)%',
    rbac: `%DYNAMIC_METADATA(${tcp ? 'envoy.filters.network.rbac' : 'envoy.filters.http.rbac'})%`,
    audited: '%DYNAMIC_METADATA(envoy.common:access_log_hint)%',
    headers: Object.fromEntries(shown.map(name => [name, `%REQ(${name})%`])),
  }
  return {
    name: 'envoy.access_loggers.file',
    typed_config: {
      '@type': type('extensions.access_loggers.file.v3.FileAccessLog'),
      path,
      log_format: { json_format: format },
    },
  }
}
