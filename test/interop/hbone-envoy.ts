/** Envoy with an identity of ours, on loopback: a TCP proxy into tunnels, or where tunnels end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** The binary; empty when there is none. */
export const envoyBinary = process.env['ENVOY'] ?? ''
export const noEnvoy = envoyBinary === '' ? ' (skipped: ENVOY is not set)' : ''

export interface EnvoyOptions {
  /** PEM texts. */
  readonly certificateChain: string
  readonly privateKey: string
  readonly trustBundle: string
  /** SPIFFE ID that it insists on. */
  readonly expect: string
  readonly role: 'source' | 'destination'
  /** Where its tunnels go, or where the connections go that come out of them. */
  readonly to: { readonly address: string; readonly port: number }
  /** What its tunnels ask for. */
  readonly authority?: string
  /** Every frame is in its log, which is given line by line. */
  readonly onLogLine?: (line: string) => void
}

export interface Envoy {
  readonly child: ChildProcess
  readonly port: number
  readonly stop: () => Promise<void>
}

const type = (name: string): string => `type.googleapis.com/${name}`
const place = (address: string, port: number): unknown => ({ socket_address: { address, port_value: port } })
const ANY_PORT = place('127.0.0.1', 0)

export async function startEnvoy(options: EnvoyOptions): Promise<Envoy> {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-envoy-'))
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const config = file('envoy.json', JSON.stringify(bootstrap(options, tlsOf(options, file))))
  const { onLogLine } = options
  const log = ['-l', 'error', ...(onLogLine === undefined ? [] : ['--component-log-level', 'http2:trace'])]
  const admin = join(folder, 'admin')
  const places = ['-c', config, '--admin-address-path', admin, '--use-dynamic-base-id']
  const child = spawn(envoyBinary, [...places, '--concurrency', '1', ...log], {
    stdio: ['ignore', 'ignore', onLogLine === undefined ? 'inherit' : 'pipe'],
  })
  if (child.stderr !== null) createInterface({ input: child.stderr }).on('line', line => onLogLine?.(line))
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  }
  return { child, stop, port: await listenerPort(admin, child) }
}

/** Envoy writes the address of its admin port when it has one. */
async function listenerPort(adminFile: string, child: ChildProcess): Promise<number> {
  const read = (): Promise<string> => readFile(adminFile, 'utf8').catch(() => '')
  let address = await read()
  for (; address === ''; address = await read())
    if (child.exitCode !== null) throw new Error(`Envoy ended with ${child.exitCode}`)
  const response = await fetch(`http://${address.trim()}/listeners?format=json`)
  const { listener_statuses: listeners } = (await response.json()) as {
    listener_statuses: { local_address: { socket_address: { port_value: number } } }[]
  }
  return listeners[0]?.local_address.socket_address.port_value ?? 0
}

function tlsOf(options: EnvoyOptions, file: (name: string, text: string) => string): unknown {
  return {
    tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
    alpn_protocols: ['h2'],
    tls_certificates: [
      {
        certificate_chain: { filename: file('cert.pem', options.certificateChain) },
        private_key: { filename: file('key.pem', options.privateKey) },
      },
    ],
    validation_context: {
      trusted_ca: { filename: file('ca.pem', options.trustBundle) },
      match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: options.expect } }],
    },
  }
}

function bootstrap({ role, to, authority = '127.0.0.1:8080' }: EnvoyOptions, tls: unknown): unknown {
  const endpoint = { address: place(to.address, to.port) }
  const chain =
    role === 'source' ? { filters: [tcpProxy(authority)] } : { filters: [connectEnd()], ...inboundTls(tls) }
  return {
    admin: { address: ANY_PORT },
    static_resources: {
      listeners: [{ name: 'front', address: ANY_PORT, filter_chains: [chain] }],
      clusters: [
        {
          name: 'next',
          type: 'STATIC',
          connect_timeout: '5s',
          load_assignment: { cluster_name: 'next', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
          ...(role === 'source' ? outboundTls(tls) : {}),
        },
      ],
    },
  }
}

function tcpProxy(authority: string): unknown {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': type('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'),
      stat_prefix: 'front',
      cluster: 'next',
      tunneling_config: { hostname: authority },
    },
  }
}

function connectEnd(): unknown {
  const route = {
    match: { connect_matcher: {} },
    route: {
      cluster: 'next',
      timeout: '0s',
      upgrade_configs: [{ upgrade_type: 'CONNECT', connect_config: {} }],
    },
  }
  return {
    name: 'envoy.filters.network.http_connection_manager',
    typed_config: {
      '@type': type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
      stat_prefix: 'front',
      codec_type: 'HTTP2',
      stream_idle_timeout: '0s',
      http2_protocol_options: { allow_connect: true },
      upgrade_configs: [{ upgrade_type: 'CONNECT' }],
      route_config: { virtual_hosts: [{ name: 'any', domains: ['*'], routes: [route] }] },
      http_filters: [
        {
          name: 'envoy.filters.http.router',
          typed_config: { '@type': type('envoy.extensions.filters.http.router.v3.Router') },
        },
      ],
    },
  }
}

function inboundTls(common: unknown): object {
  const context = {
    '@type': type('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext'),
    require_client_certificate: true,
    common_tls_context: common,
  }
  return { transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: context } }
}

function outboundTls(common: unknown): object {
  const http2 = {
    '@type': type('envoy.extensions.upstreams.http.v3.HttpProtocolOptions'),
    explicit_http_config: { http2_protocol_options: { allow_connect: true } },
  }
  const context = {
    '@type': type('envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'),
    common_tls_context: common,
  }
  return {
    typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2 },
    transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: context },
  }
}
