// The Rust ztunnel, and ours in its place: two hosts each, one control plane and CA, applications ask by SOCKS5.
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CLIENT_IP, makeHosts, SERVER_IP } from './network.mjs'
import { start, startCommand } from './processes.mjs'

const require = createRequire(import.meta.url)
const OURS = join(dirname(require.resolve('@ambient/ztunnel/package.json')), 'dist', 'bin.js')
const PLANE = fileURLToPath(new URL('../../test/interop/fixtures/plane.mjs', import.meta.url))
const APP_PORT = 8080

/** @returns {Promise<import('./pairs.mjs').Pair>} */
export async function startZtunnels({ key, name, version, command }) {
  const hosts = makeHosts()
  const folder = mkdtempSync(join(tmpdir(), 'ambient-bench-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const app = start('app.mjs', { prefix: hosts.server })
  await app.call('listen', { host: SERVER_IP, port: APP_PORT })
  const plane = [process.execPath, PLANE, CLIENT_IP, CLIENT_IP, SERVER_IP, folder]
  await startCommand([...hosts.client, ...plane], /^ready/m)
  const open = (host, role, address) =>
    startCommand([...hosts[host], ...command], undefined, environment(role, folder, address))
  const processes = [await open('client', 'client', CLIENT_IP), await open('server', 'server', SERVER_IP)]
  const load = start('load.mjs', { prefix: hosts.client })
  const readiness = { url: 'http://127.0.0.1:15021/healthz/ready' }
  const far = start('load.mjs', { prefix: hosts.server })
  await Promise.all([load.call('ready', readiness), far.call('ready', readiness)])
  far.end()
  const entry = { host: SERVER_IP, port: APP_PORT, socks: { host: '127.0.0.1', port: 15080 } }
  return { key, name, node: version, entry, processes, load, app }
}

export function rustZtunnel(binary) {
  return startZtunnels({ key: 'rust', name: 'ztunnel (Rust)', version: '', command: [binary, 'proxy'] })
}

export function ourZtunnel({ node, version }) {
  return startZtunnels({ key: 'ztunnel', name: 'ztunnel (ours)', version, command: [node, OURS] })
}

function environment(name, folder, address) {
  return {
    PROXY_MODE: 'dedicated',
    PROXY_WORKLOAD_INFO: `default/${name}/${name}`,
    POD_NAME: name,
    POD_NAMESPACE: 'default',
    SERVICE_ACCOUNT: name,
    INSTANCE_IP: address,
    NODE_NAME: name,
    XDS_ADDRESS: `https://${CLIENT_IP}:15012`,
    CA_ADDRESS: `https://${CLIENT_IP}:15012`,
    XDS_ROOT_CA: join(folder, 'root.pem'),
    CA_ROOT_CA: join(folder, 'root.pem'),
    AUTH_TOKEN: `token-${name}`,
    UNSTABLE_ENABLE_SOCKS5: 'true',
    ISTIO_META_DNS_CAPTURE: 'false',
    IPV6_ENABLED: 'false',
    ENABLE_ORIG_SRC: 'false',
    ZTUNNEL_WORKER_THREADS: '2',
    // A log line for each connection would be measured as well.
    RUST_LOG: 'warn',
  }
}
