// What it cost, and that nothing is left.
import { usageOf } from '../processes.mjs'

/** The promise of the README, on two cores. */
const LIMIT_SECONDS = 120

export const title = 'What it took'

export const checks = [
  {
    name: 'every program of the manifests runs, one ztunnel per node, and the waypoint',
    expected: 'all of them have a process',
    async run({ mesh }) {
      const down = [...mesh.pods, ...mesh.nodes, ...mesh.waypoints]
        .filter(({ pid }) => pid === undefined)
        .map(({ name }) => name)
      const all = mesh.pods.length + mesh.nodes.length + mesh.waypoints.length
      return {
        observed: down.length === 0 ? `${all} of ${all}` : `not ${down.join(', ')}`,
        ok: down.length === 0,
      }
    },
  },
]

/** Checked when everything else is over. */
export const timeCheck = startedAt => ({
  name: 'the whole story',
  expected: `less than ${LIMIT_SECONDS} s`,
  async run() {
    const seconds = (performance.now() - startedAt) / 1_000
    return { observed: `${seconds.toFixed(1)} s`, ok: seconds < LIMIT_SECONDS }
  },
})

/** Memory and CPU per process, as lines. */
export function usageTable(mesh) {
  const rows = [
    ['demo, control plane, CA, relay', process.pid],
    ...mesh.nodes.map(node => [`ztunnel of ${node.name}`, node.pid]),
    ...mesh.waypoints.map(({ namespace, name, pid }) => [`waypoint ${namespace}/${name}`, pid]),
    ...mesh.pods.map(pod => [`${pod.namespace}/${pod.name} on ${pod.node}`, pod.pid]),
  ]
  const lines = rows.map(([name, pid]) => {
    const usage = pid === undefined ? undefined : usageOf(pid)
    const facts = usage === undefined ? ['-', '-'] : [usage.rssMiB.toFixed(0), usage.cpuSeconds.toFixed(2)]
    return `  ${name.padEnd(48)} ${String(pid ?? '-').padStart(8)} ${facts[0].padStart(6)} MiB ${facts[1].padStart(8)} s`
  })
  return ['  process                                               pid      RSS        CPU', ...lines].join(
    '\n',
  )
}
