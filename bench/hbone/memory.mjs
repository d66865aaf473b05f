// What idle tunnels hold and what closed ones leave behind, beside bare sockets in processes of their own.
import { openInspected } from './pairs.mjs'
import { start } from './processes.mjs'

const FLAGS = ['--expose-gc']
/** Each connection carries one message first: a tunnel that was never used is cheaper than one in use. */
const MESSAGE_BYTES = 1024
/** Steps in which the churn is done, so that growth shows as a line. The first one warms up. */
const CHURN_STEPS = 5

/**
 * The engine keeps room for garbage that grows with what was thrown away while the connections were opened, and newer ones
 * do not give it back. With a small young generation there is little of it, and RSS is what is held.
 */
const MODES = [
  { name: 'as Node is', flags: [] },
  // Said in the process, as there: on the command line V8 raises a factor of 1 to 2.
  { name: 'as `ambient` is', flags: [], keepsYoungGeneration: true },
  { name: 'young generation of 1 MB', flags: ['--max-semi-space-size=1'] },
]

/** Seconds that the part takes per Node, about. */
export function memorySeconds({ tunnels, churn }) {
  return MODES.length * (4 + (tunnels * 3) / 5000) + churn / 6000
}

/** @returns figures in bytes */
export async function measureMemory(where) {
  const idle = []
  for (const mode of MODES) idle.push({ mode: mode.name, ...(await measureIdle({ ...where, ...mode })) })
  const { version, tunnels, churn } = where
  return { version, tunnels, idle, churn, churned: await measureChurn(where) }
}

/** Per connection: a socket with nothing behind it, a tunnel with its socket, and what is left of that when it was closed. */
async function measureIdle({ node, flags, keepsYoungGeneration, folder, app, load, tunnels }) {
  const bare = await measureBare({ node, flags, keepsYoungGeneration, sockets: tunnels })
  const pair = await openInspected({ node, flags, folder, app: app.port })
  const [source, destination] = pair.processes
  if (keepsYoungGeneration) await keepYoungGeneration(pair.processes)
  const before = await usage(pair.processes)
  await load.call('begin', { kind: 'idle', entry: pair.entry, connections: tunnels, bytes: MESSAGE_BYTES })
  const counts = await source.call('counts')
  const held = await usage(pair.processes)
  await load.call('stop')
  await app.call('idle', { waitMs: 30_000 })
  const closed = await usage(pair.processes)
  source.end()
  destination.end()
  const each = (of, key) => of.map((now, index) => (now[key] - before[index][key]) / tunnels)
  return {
    counts,
    bare,
    tunnel: each(held, 'rss'),
    heap: each(held, 'heapUsed'),
    left: each(closed, 'heapUsed'),
  }
}

/** Bytes per accepted and per dialled socket. */
async function measureBare({ node, flags, keepsYoungGeneration, sockets }) {
  const acceptor = start('bare-sockets.mjs', { node, flags: [...FLAGS, ...flags] })
  const dialler = start('bare-sockets.mjs', { node, flags: [...FLAGS, ...flags] })
  if (keepsYoungGeneration) await keepYoungGeneration([acceptor, dialler])
  const port = await acceptor.call('listen')
  const before = await usage([acceptor, dialler])
  await dialler.call('dial', { port, connections: sockets, bytes: MESSAGE_BYTES })
  const after = await usage([acceptor, dialler])
  acceptor.end()
  dialler.end()
  return after.map(({ rss }, index) => (rss - before[index].rss) / sockets)
}

async function measureChurn({ node, folder, app, churn }) {
  const { processes } = await openInspected({ node, flags: [], folder, app: app.port })
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
  for (const process of processes) process.end()
  return steps
}

function keepYoungGeneration(processes) {
  return Promise.all(processes.map(process => process.call('keepYoungGeneration')))
}

function usage(processes) {
  return Promise.all(processes.map(process => process.call('memory')))
}
