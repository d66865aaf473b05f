// The transports side by side. Each is a pair of proxies, each proxy a process: plain, then its own way, then plain.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { start, startCommand } from './processes.mjs'

/**
 * @typedef {{ host: string, port: number, socks?: { host: string, port: number } }} Entry
 * @typedef {import('./processes.mjs').Process} Process
 * @typedef {{ key: string, name: string, node: string, entry: Entry, processes: Process[], load?: Process, app?: Process }} Pair
 * `processes`: source and destination; none for `direct`. `load`, `app`: where the pair has hosts of its own.
 */

const require = createRequire(import.meta.url)
const AMBIENT = join(dirname(require.resolve('@ambient/cli/package.json')), 'dist', 'bin.js')

const HOST = '127.0.0.1'
const LISTENING = /^listening \S+:(\d+)$/m

const PAIRS = {
  tcp: { name: 'plain TCP pipe', open: programs('tcp-pipe.mjs') },
  tls: { name: 'TLS pipe', open: programs('tls-pipe.mjs') },
  h2: { name: 'node:http2 CONNECT', open: programs('http2-connect.mjs') },
  ours: { name: 'HBONE (ours)', open: commands },
}

export const TRANSPORTS = ['direct', ...Object.keys(PAIRS)]

/** No proxy at all: what generator and application can do by themselves. @returns {Pair} */
export function direct(app) {
  return { key: 'direct', name: 'direct', node: '', entry: { host: HOST, port: app }, processes: [] }
}

/** @returns {Promise<Pair>} */
export async function startPair(key, { node, version, folder, app }) {
  const { name, open } = PAIRS[key]
  return { key, name, node: version, ...(await open({ node, folder, app })) }
}

/** One program of the bench in both roles. */
function programs(file, own = []) {
  return async ({ node, folder, app, flags = [] }) => {
    const source = start(file, { node, flags: [...own, ...flags] })
    const destination = start(file, { node, flags: [...own, ...flags] })
    const far = await destination.call('destination', { folder, target: app })
    const port = await source.call('source', { folder, target: far, app })
    return { entry: { host: HOST, port }, processes: [source, destination] }
  }
}

/** What a user runs: `ambient hbone forward` and `ambient hbone serve`. */
async function commands({ node, folder, app }) {
  const identity = name => ['--cert', join(folder, `${name}.crt`), '--key', join(folder, `${name}.key`)]
  const ambient = (command, name, ...args) =>
    startCommand(
      [node, AMBIENT, 'hbone', command, ...identity(name), '--ca', join(folder, 'ca.crt'), ...args],
      LISTENING,
    )
  const destination = await ambient('serve', 'destination', '--listen', `${HOST}:0`, '--allow-target', '*')
  const forward = `${HOST}:0=${HOST}:${app}`
  const via = `${HOST}:${destination.match[1]}`
  const source = await ambient('forward', 'source', '--via', via, '--forward', forward)
  return { entry: { host: HOST, port: Number(source.match[1]) }, processes: [source, destination] }
}

/** Our pair as programs that can be asked for counts and garbage collections. */
export const openInspected = programs('hbone.mjs', ['--expose-gc'])
