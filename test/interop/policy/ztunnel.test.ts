/**
 * Istio's own ztunnel and our engine over the same generated policies: each connection is really made, and both say the
 * same, with the same reason. Two network namespaces. Needs root, Linux, iproute2, and the real ztunnel:
 * ISTIO_ZTUNNEL=path/to/ztunnel. `AMBIENT_DIFFERENTIAL_ROUNDS` and `AMBIENT_DIFFERENTIAL_SEED` for more and others.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseSpiffeId, type Workload } from '@ambient/core'
import { type Authorization, decide } from '@ambient/policy'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { atEnd, awaitReady, canMakeHosts, endHosts, makeHosts, run, type Started, startOn } from '../hosts.ts'
import { theirs, ztunnelCommand, ztunnelEnvironment } from '../ztunnels.ts'
import { CLIENT_IPS, type L4Call, l4Calls, l4Policies, REFERENCES } from './l4-arbitraries.ts'

const fixtures = join(dirname(fileURLToPath(import.meta.url)), '..', 'fixtures')
const [CLIENT_IP] = CLIENT_IPS
const SERVER_IP = '10.99.0.2'
const ROUNDS = Number(process.env['AMBIENT_DIFFERENTIAL_ROUNDS'] ?? 120)
const SEED = Number(process.env['AMBIENT_DIFFERENTIAL_SEED'] ?? 20_261_121)
const DENIED = 401
const why = !canMakeHosts
  ? ' (skipped: needs root on Linux with iproute2)'
  : theirs === ''
    ? ' (skipped: ISTIO_ZTUNNEL is not set)'
    : ''

afterEach(endHosts)

/** The workload as far as policies look at it. */
const server: Workload = {
  ...{ uid: 'Kubernetes//Pod/default/server', name: 'server', namespace: 'default', addresses: [SERVER_IP] },
  ...{ hostname: '', network: '', protocol: 'HBONE', trustDomain: 'cluster.local', serviceAccount: 'server' },
  ...{ node: 'server', canonicalName: 'server', canonicalRevision: 'latest', workloadType: 'pod' },
  ...{ workloadName: 'server', nativeTunnel: false, services: new Map(), authorizationPolicies: REFERENCES },
  ...{ status: 'Healthy', clusterId: 'Kubernetes', locality: { region: '', zone: '', subzone: '' } },
  ...{ networkMode: 'Standard', capacity: 1 },
}

interface Answer {
  readonly allowed: boolean
  /** Of a denial. */
  readonly reason: string | undefined
}

function ours(policies: readonly Authorization[], { identity, from, port }: L4Call): Answer {
  const source = { address: from, port: 40_000, identity: parseSpiffeId(identity) }
  const destination = { address: SERVER_IP, port, network: '', workload: server }
  const connection = { id: '0'.repeat(32), direction: 'inbound', source, destination } as const
  const { allowed, reason } = decide(policies, connection, { unknownPolicy: 'skip' })
  return { allowed, reason: allowed ? undefined : reason }
}

/** Concerns no workload here: when ztunnel has it, it has the others of its round, and when it is gone, they are. */
function marker(round: number): Authorization {
  const named = { name: `round-${round}`, namespace: 'marker', scope: 'Namespace' } as const
  return { ...named, action: 'Deny', dryRun: false, rules: [] }
}

async function publish(
  { probe, peer }: Peers,
  round: number,
  policies: readonly Authorization[],
): Promise<void> {
  const from = peer.lines.length
  probe.child.stdin.write(`${JSON.stringify({ policies: [...policies, marker(round)] })}\n`)
  await peer.saw(new RegExp(`handling RBAC update round-${round}\\b`), from)
  if (round > 0) await peer.saw(new RegExp(`handling RBAC delete marker/round-${round - 1}\\b`), from)
}

async function call({ probe }: Peers, calls: readonly L4Call[]): Promise<readonly number[]> {
  const from = probe.lines.length
  probe.child.stdin.write(`${JSON.stringify({ calls })}\n`)
  const line = await probe.saw(/^statuses /, from)
  return JSON.parse(line.slice('statuses '.length))
}

interface Peers {
  readonly probe: Started
  readonly peer: Started
}

async function startPeers(): Promise<Peers> {
  const hosts = await makeHosts({ client: CLIENT_IP, server: SERVER_IP })
  for (const ip of CLIENT_IPS.slice(1))
    await run('ip', ['-n', hosts.client, 'addr', 'add', `${ip}/24`, 'dev', 'wire'])
  const folder = mkdtempSync(join(tmpdir(), 'ambient-interop-'))
  atEnd(async () => rmSync(folder, { recursive: true, force: true }))
  const command = [
    process.execPath,
    join(fixtures, 'policy-probe.mjs'),
    CLIENT_IP,
    SERVER_IP,
    folder,
    ...REFERENCES,
  ]
  const probe = startOn(hosts.client, command)
  await probe.saw(/^ready/)
  const environment = ztunnelEnvironment('server', folder, { plane: CLIENT_IP, ip: SERVER_IP })
  const peer = startOn(hosts.server, ztunnelCommand('theirs'), environment)
  await awaitReady(hosts.server, peer)
  return { probe, peer }
}

/** Of several DENY policies that match, ztunnel names any. */
function agree(mine: Answer, theirs: Answer, policies: readonly Authorization[], call: L4Call): boolean {
  if (mine.allowed !== theirs.allowed) return false
  const named = /^explicitly denied by: (.+)$/.exec(theirs.reason ?? '')?.[1]
  if (mine.reason === theirs.reason || named === undefined) return mine.reason === theirs.reason
  const only = policies.filter(({ namespace, name }) => `${namespace}/${name}` === named)
  return ours(only, call).reason === theirs.reason
}

/** ztunnel's own words, of its access log, in the order of the calls. */
function reasonsIn(lines: readonly string[]): readonly (string | undefined)[] {
  return lines
    .filter(line => line.includes('dst.hbone_addr='))
    .map(line => /closed due to policy rejection: ([^"]+)"/.exec(line)?.[1])
}

describe('Istio’s ztunnel and our engine', () => {
  it.skipIf(why !== '')(`say the same of generated policies${why}`, { timeout: 600_000 }, async () => {
    const peers = await startPeers()
    const rounds = fc.sample(l4Policies, { numRuns: ROUNDS, seed: SEED })
    const asked: {
      readonly call: L4Call
      readonly status: number
      readonly mine: Answer
      readonly round: number
    }[] = []
    for (const [round, policies] of rounds.entries()) {
      await publish(peers, round, policies)
      const statuses = await call(peers, l4Calls)
      for (const [index, call] of l4Calls.entries())
        asked.push({ call, status: statuses[index] ?? 0, mine: ours(policies, call), round })
    }
    await expect.poll(() => reasonsIn(peers.peer.lines).length, { timeout: 10_000 }).toBe(asked.length)
    const reasons = reasonsIn(peers.peer.lines)
    const differences = asked.flatMap(({ call, status, mine, round }, index) => {
      const theirs = { allowed: status !== DENIED, reason: reasons[index] }
      const policies = rounds[round] ?? []
      return agree(mine, theirs, policies, call) ? [] : [{ call, mine, theirs, policies }]
    })
    const denied = asked.filter(({ mine }) => !mine.allowed).length
    console.log(
      `seed ${SEED}: ${asked.length} connections under ${ROUNDS} sets of policies, ${denied} denied`,
    )
    expect(differences.length, JSON.stringify(differences[0])).toBe(0)
    // Both answers have to occur, or nothing was compared.
    expect(Math.min(denied, asked.length - denied)).toBeGreaterThan(asked.length / 10)
  })
})
