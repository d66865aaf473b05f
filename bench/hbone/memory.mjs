// What idle tunnels hold and what closed ones leave behind, beside bare sockets in processes of their own.
import { openInspected } from './pairs.mjs'
import { start } from './processes.mjs'

const FLAGS = ['--expose-gc']
/** Each connection carries one message first: a tunnel that was never used is cheaper than one in use. */
const MESSAGE_BYTES = 1024
/** Steps in which the churn is done, so that growth shows as a line. The first one warms up. */
const CHURN_STEPS = 5

/** Seconds that the part takes per Node, about. */
export function memorySeconds({ tunnels, churn }) {
  return 4 + (tunnels * 3) / 5000 + churn / 6000
}

/** @returns figures in bytes */
export async function measureMemory({ node, version, folder, app, load, tunnels, churn }) {
  const bare = await measureBare(node, tunnels)
  const pair = await openInspected({ node, folder, app: app.port })
  const [source, destination] = pair.processes
  const before = await usage(pair.processes)
  await load.call('begin', { kind: 'idle', entry: pair.entry, connections: tunnels, bytes: MESSAGE_BYTES })
  const counts = await source.call('counts')
  const held = await usage(pair.processes)
  await load.call('stop')
  await app.call('idle')
  const closed = await usage(pair.processes)
  const churned = await measureChurn(pair, churn)
  const each = (of, than) => of.map(({ rss }, index) => (rss - than[index].rss) / tunnels)
  source.end()
  destination.end()
  return {
    version,
    tunnels,
    counts,
    bare,
    tunnel: each(held, before),
    left: each(closed, before),
    churn,
    churned,
  }
}

/** Bytes per accepted and per dialled socket. */
async function measureBare(node, sockets) {
  const acceptor = start('bare-sockets.mjs', { node, flags: FLAGS })
  const dialler = start('bare-sockets.mjs', { node, flags: FLAGS })
  const port = await acceptor.call('listen')
  const before = await usage([acceptor, dialler])
  await dialler.call('dial', { port, connections: sockets, bytes: MESSAGE_BYTES })
  const after = await usage([acceptor, dialler])
  acceptor.end()
  dialler.end()
  return after.map(({ rss }, index) => (rss - before[index].rss) / sockets)
}

async function measureChurn({ processes }, churn) {
  const steps = []
  for (let step = 0; step < CHURN_STEPS; step++) {
    await processes[0].call('churn', { tunnels: Math.ceil(churn / CHURN_STEPS), atOnce: 50 })
    const [source, destination] = await usage(processes)
    const { tunnels } = await processes[0].call('counts')
    steps.push({
      open: tunnels,
      rss: [source.rss, destination.rss],
      heap: [source.heapUsed, destination.heapUsed],
    })
  }
  return steps
}

function usage(processes) {
  return Promise.all(processes.map(process => process.call('memory')))
}
