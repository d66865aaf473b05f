/**
 * The mesh of HBONE with identities from a Workload API in another process, under load: it rotates, ends and begins again,
 * is killed and stopped, and no request fails. Without a Workload API the same is shown by `rotations-under-load.test.ts`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Credentials, parseSpiffeId, type SpiffeId } from '@ambient/core'
import {
  createCertificateAuthorityFiles,
  createWorkloadApiSource,
  credentialsSourceOf,
  readPemCertificates,
  type WorkloadApiSource,
} from '@ambient/identity'
import { afterEach, describe, expect, it } from 'vitest'
import { type Load, serialOf, startLoad } from './load.ts'

const PROGRAM = fileURLToPath(new URL('fixtures/workload-api-process.mjs', import.meta.url))
const SERVER = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/server')
const CLIENT = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client')
const IDS = [SERVER, CLIENT]

const cleanups: (() => unknown)[] = []
const atEnd = (run: () => unknown): void => void cleanups.push(run)
afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

interface Agent {
  readonly child: ChildProcess
  /** Resolves when it was done. */
  ask(line: string): Promise<void>
  end(how: 'cleanly' | 'killed'): Promise<void>
}

interface World {
  readonly agent: Agent
  readonly server: WorkloadApiSource
  readonly client: WorkloadApiSource
  readonly load: Load
  again(): Promise<Agent>
}

async function startAgent(dir: string, socketOf: (id: SpiffeId) => string): Promise<Agent> {
  const args = IDS.map(id => `${id.uri}=${socketOf(id)}`)
  const child = spawn(process.execPath, [PROGRAM, join(dir, 'ca'), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin.on('error', () => {})
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const exit = once(child, 'exit')
  const line = async (expected: string): Promise<void> => {
    const { value, done } = await lines.next()
    if (done === true || value !== expected) throw new Error(`the agent said ${value}, not ${expected}`)
  }
  atEnd(async () => {
    child.kill('SIGKILL')
    await exit
  })
  await line('ready')
  return {
    child,
    async ask(text) {
      child.stdin.write(`${text}\n`)
      await line(text)
    },
    async end(how) {
      if (how === 'killed') child.kill('SIGKILL')
      else child.stdin.write('end\n')
      await exit
    },
  }
}

async function world(): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-agent-'))
  atEnd(() => rmSync(dir, { recursive: true, force: true }))
  await createCertificateAuthorityFiles({ dir: join(dir, 'ca'), trustDomain: 'cluster.local' })
  const socketOf = (id: SpiffeId): string => join(dir, `${IDS.indexOf(id)}.sock`)
  const agent = await startAgent(dir, socketOf)
  const [server, client] = [SERVER, CLIENT].map(id =>
    createWorkloadApiSource({ address: `unix://${socketOf(id)}`, random: () => 0.5 }),
  ) as [WorkloadApiSource, WorkloadApiSource]
  atEnd(() => Promise.all([server.close(), client.close()]))
  // As a proxy of many identities asks: by name.
  const [desk, otherDesk] = [credentialsSourceOf(server), credentialsSourceOf(client)]
  const load = await startLoad({
    server: () => desk.get(SERVER),
    client: () => otherDesk.get(CLIENT),
    serverId: SERVER,
  })
  atEnd(() => load.stop())
  await load.sessions()
  return { agent, server, client, load, again: () => startAgent(dir, socketOf) }
}

/** The next generation of each. */
function renewed(...sources: readonly WorkloadApiSource[]): Promise<readonly Credentials[]> {
  return Promise.all(
    sources.map(
      source =>
        new Promise<Credentials>(resolve => {
          const unwatch = source.watch(credentials => {
            unwatch()
            resolve(credentials)
          })
        }),
    ),
  )
}

async function expectShown(load: Load, [server, client]: readonly Credentials[]): Promise<void> {
  if (server === undefined || client === undefined) throw new Error('two generations')
  expect(await load.sessions()).toEqual({ server: serialOf(server), client: serialOf(client) })
}

describe('a Workload API in another process, under load', { timeout: 60_000 }, () => {
  it('rotates leaves, the intermediate and the root', async () => {
    const { agent, server, client, load } = await world()
    for (const [change, roots] of [
      ['rotate', 1],
      ['intermediate', 1],
      ['add', 2],
      ['sign', 2],
      ['drop', 1],
    ] as const) {
      const next = renewed(server, client)
      if (change !== 'rotate') await agent.ask(change)
      await agent.ask('rotate')
      const generations = await next
      await expectShown(load, generations)
      for (const { trustBundle } of generations) expect(readPemCertificates(trustBundle)).toHaveLength(roots)
    }
    expect((await load.stop()).failures).toEqual([])
  })

  it.each(['cleanly', 'killed'] as const)('ends %s and begins again with other certificates', async how => {
    const { agent, server, client, load, again } = await world()
    const before = await load.sessions()
    await agent.end(how)
    // Nobody waits for it: what is held is good.
    expect(await load.sessions(10)).toEqual(before)
    const next = renewed(server, client)
    await again()
    await expectShown(load, await next)
    expect((await load.stop()).failures).toEqual([])
  })

  it('stands still, and goes on', async () => {
    const { agent, server, client, load } = await world()
    const before = await load.sessions()
    agent.child.kill('SIGSTOP')
    expect(await load.sessions(10)).toEqual(before)
    const next = renewed(server, client)
    agent.child.kill('SIGCONT')
    await agent.ask('rotate')
    await expectShown(load, await next)
    expect((await load.stop()).failures).toEqual([])
  })
})
