/** Ztunnels of either make as processes: where they are, and the environment that a dedicated one wants. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

export type Make = 'ours' | 'theirs'

/** The real ztunnel; empty when there is none. */
export const theirs = process.env['ISTIO_ZTUNNEL'] ?? ''

const ours = join(
  dirname(createRequire(import.meta.url).resolve('@ambient/ztunnel/package.json')),
  'dist',
  'bin.js',
)

export function ztunnelCommand(make: Make): string[] {
  return make === 'ours' ? [process.execPath, ours] : [theirs, 'proxy']
}

/** Of the pod `default/name`, whose control plane listens on `plane` and left its root in `folder`. */
export function ztunnelEnvironment(
  name: string,
  folder: string,
  of: { readonly plane: string; readonly ip: string },
): Record<string, string> {
  return {
    PROXY_MODE: 'dedicated',
    PROXY_WORKLOAD_INFO: `default/${name}/${name}`,
    POD_NAME: name,
    POD_NAMESPACE: 'default',
    SERVICE_ACCOUNT: name,
    INSTANCE_IP: of.ip,
    NODE_NAME: name,
    XDS_ADDRESS: `https://${of.plane}:15012`,
    CA_ADDRESS: `https://${of.plane}:15012`,
    XDS_ROOT_CA: join(folder, 'root.pem'),
    CA_ROOT_CA: join(folder, 'root.pem'),
    AUTH_TOKEN: `token-${name}`,
    UNSTABLE_ENABLE_SOCKS5: 'true',
    ISTIO_META_DNS_CAPTURE: 'false',
    IPV6_ENABLED: 'false',
    ENABLE_ORIG_SRC: 'false',
    ZTUNNEL_WORKER_THREADS: '1',
    RUST_LOG: 'info',
  }
}
