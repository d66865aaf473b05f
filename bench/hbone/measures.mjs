// What is measured: a kind of load, who counts, in which unit, and what the issue wants of it.
import { setTimeout as delay } from 'node:timers/promises'
import { cpuSeconds } from './processes.mjs'

/** Connections stand and windows have grown before anything is counted. */
const RAMP_MS = 200

/** When the generator has gone, a pair has this long to close what it opened. */
const CLOSE_MS = 3_000

const GBIT = 8 / 1e9
const gbit = { unit: 'Gbit/s', scale: GBIT, digits: 2, work: 'GB', perWork: 1e9 }
const requests = {
  unit: '/s',
  scale: 1,
  digits: 0,
  work: '1,000 requests',
  perWork: 1000,
  by: 'load',
  counter: 'requests',
}

/** `h2` and `tls`: the least ratio to that pair. */
export const MEASURES = [
  { key: 'req1', title: 'req/s at 1', ...requests, load: { kind: 'requests', connections: 1 } },
  { key: 'req32', title: 'req/s at 32', ...requests, load: { kind: 'requests', connections: 32 }, h2: 1.3 },
  {
    key: 'req256',
    title: 'req/s at 256',
    ...requests,
    load: { kind: 'requests', connections: 256 },
    h2: 1.3,
  },
  {
    key: 'conn',
    title: 'new conn/s',
    unit: '/s',
    scale: 1,
    digits: 0,
    work: '1,000 connections',
    perWork: 1000,
    by: 'load',
    counter: 'connections',
    load: { kind: 'connections', connections: 32 },
    h2: 1.3,
  },
  {
    key: 'up',
    title: 'up',
    ...gbit,
    by: 'app',
    counter: 'bytes',
    load: { kind: 'up', streams: 1 },
    h2: 1.4,
    tls: 0.9,
  },
  {
    key: 'down',
    title: 'down',
    ...gbit,
    by: 'load',
    counter: 'bytes',
    load: { kind: 'down', streams: 1 },
    h2: 1.4,
    tls: 0.9,
  },
  {
    key: 'up8',
    title: '8 up',
    ...gbit,
    by: 'app',
    counter: 'bytes',
    load: { kind: 'up', streams: 8 },
    h2: 1.4,
    tls: 0.9,
  },
  {
    key: 'up16',
    title: '16 up',
    ...gbit,
    by: 'app',
    counter: 'bytes',
    load: { kind: 'up', streams: 16 },
    h2: 1.4,
    tls: 0.9,
  },
  {
    key: 'ping',
    title: 'ping-pong p99',
    unit: 'ms',
    digits: 2,
    isLatency: true,
    load: { kind: 'pingPong', perSecond: 1000, bytes: 1024 },
    /** Twice as long: a percentile needs many. */
    times: 2,
    h2: 1,
  },
]

/** How long one measurement takes, about. */
export function durationMs(measure, seconds) {
  return RAMP_MS + 150 + seconds * 1000 * (measure.times ?? 1)
}

/** One measurement of one pair. @returns value(s), CPU seconds of source and destination, and the failed connections. */
export async function run(measure, pair, shared) {
  const { load = shared.load, app = shared.app } = pair
  const { seconds } = shared
  const counter = measure.by === 'app' ? app : load
  const errorsBefore = (await load.call('snapshot')).errors
  await load.call('begin', { ...measure.load, entry: pair.entry })
  await delay(RAMP_MS)
  if (measure.isLatency) await load.call('latencies')
  const before = await counter.call('snapshot')
  const cpuBefore = pair.processes.map(({ pid }) => cpuSeconds(pid))
  await delay(seconds * 1000 * (measure.times ?? 1))
  const after = await counter.call('snapshot')
  const cpu = pair.processes.map(({ pid }, index) => cpuSeconds(pid) - cpuBefore[index])
  const latencies = measure.isLatency ? await load.call('latencies') : undefined
  const { errors } = await load.call('snapshot')
  await load.call('stop')
  const leftOpen = await app.call('idle', { waitMs: CLOSE_MS })
  if (latencies)
    return {
      value: latencies.p99,
      p50: latencies.p50,
      cpu,
      work: latencies.count,
      errors: errors - errorsBefore,
      leftOpen,
    }
  const work = after[measure.counter] - before[measure.counter]
  const value = (work * measure.scale * 1000) / (after.atMs - before.atMs)
  return { value, cpu, work, errors: errors - errorsBefore, leftOpen }
}
