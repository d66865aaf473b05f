// The transports side by side. Each is a pair of proxies, each proxy a process: plain, then its own way, then plain.
import { start } from './processes.mjs'

/**
 * @typedef {{ name: string, node: string, port: number, processes: import('./processes.mjs').Process[] }} Pair
 * `processes`: source and destination; none for `direct`.
 */

const NAMES = {
  tcp: 'plain TCP pipe',
  tls: 'TLS pipe',
  h2: 'node:http2 CONNECT',
  ours: 'HBONE (ours)',
}

const PROGRAMS = { tcp: 'tcp-pipe.mjs', tls: 'tls-pipe.mjs', h2: 'http2-connect.mjs', ours: 'hbone.mjs' }

export const TRANSPORTS = ['direct', ...Object.keys(NAMES)]

/** No proxy at all: what generator and application can do by themselves. */
export function direct(app) {
  return { key: 'direct', name: 'direct', node: '', port: app, processes: [] }
}

/** @returns {Promise<Pair>} */
export async function startPair(key, { node, version, folder, app, flags }) {
  const source = start(PROGRAMS[key], { node, flags })
  const destination = start(PROGRAMS[key], { node, flags })
  const far = await destination.call('destination', { folder, target: app })
  const port = await source.call('source', { folder, target: far, app, peer: 'destination' })
  return { key, name: NAMES[key], node: version, port, processes: [source, destination] }
}
