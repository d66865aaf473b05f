import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ProxyStatus } from '@ambient/mesh'
import { describe, expect, test } from 'vitest'
import { runCli } from '../src/index.ts'
import { startFakeMesh } from './fake-mesh.ts'
import { run, testHost } from './host.ts'
import { useMeshFolder } from './mesh-folder.ts'

const meshes = useMeshFolder()
const fakeMesh = meshes.fakeMesh

const ztunnel: ProxyStatus = {
  name: 'ztunnel-node-a.istio-system',
  kind: 'ztunnel',
  node: 'node-a',
  pid: 7,
  ready: true,
  startedAt: Date.now() - 192_000,
  restarts: 0,
  types: [
    { type: 'type.googleapis.com/istio.workload.Address', state: 'SYNCED', version: '3' },
    { type: 'type.googleapis.com/istio.security.Authorization', state: 'SYNCED', version: '2' },
  ],
  certificates: [
    {
      identity: 'spiffe://cluster.local/ns/shop/sa/web',
      state: 'Available',
      serial: '42',
      notBefore: Date.UTC(2026, 0, 1),
      notAfter: Date.UTC(2026, 0, 2),
    },
  ],
}

describe('which mesh', () => {
  test('none, the only one, the one that is named, or one of several', async () => {
    for (const command of [
      ['status'],
      ['get', 'pods'],
      ['run', '--as', 'shop/web', 'true'],
      ['connect', 'web.shop:80'],
    ])
      expect(await run(...command)).toMatchObject({
        code: 1,
        err: 'error: no mesh is running; `ambient up FOLDER` starts one [AMBIENT_E_CLI_NO_MESH]\n',
      })
    // What needs no running mesh needs a folder.
    for (const command of [
      ['label', 'ns', 'shop', 'a=b'],
      ['waypoint', 'apply'],
      ['waypoint', 'list'],
    ])
      expect(await run(...command)).toMatchObject({
        code: 1,
        err: expect.stringMatching(/^error: no mesh is running; name the folder of manifests with --mesh/),
      })
    expect((await run('status', '--mesh', meshes.path)).err).toContain(
      `\`ambient up ${meshes.path}\` starts one`,
    )
    await fakeMesh()
    expect((await run('status')).code).toBe(0)
    const other = await startFakeMesh({ folder: join(meshes.path, 'other') })
    meshes.atEnd(() => other.close())
    expect((await run('status')).err).toMatch(
      /^error: several meshes are running; name one with --mesh: .*, .* \[/,
    )
  })

  test('several of one folder, as programs may have, are named by their processes', async () => {
    await fakeMesh()
    await fakeMesh()
    const several = /^error: several meshes of .* are running, .*: pid \d+, pid \d+ \[AMBIENT_E_CLI_NO_MESH\]/
    expect((await run('status')).err).toMatch(several)
    expect((await run('status', '--mesh', meshes.path)).err).toMatch(several)
  })

  test('a second mesh of one folder is not started', async () => {
    await writeFile(join(meshes.path, 'ns.yaml'), '')
    await fakeMesh()
    expect(await run('up', meshes.path)).toEqual({
      code: 1,
      out: '',
      err: `error: a mesh of this folder already runs (pid ${process.pid}) [AMBIENT_E_CLI_MESH_RUNS]\n`,
    })
  })
})

describe('status', () => {
  test('a line for each proxy: ready, and in step', async () => {
    const nacked = {
      ...ztunnel,
      name: 'ztunnel-node-b.istio-system',
      types: [
        { type: 'a/istio.workload.Address', state: 'NACK' as const, version: '2', nack: 'no such field' },
        { type: 'networking.istio.io/v1/VirtualService', state: 'STALE' as const, version: '1' },
      ],
    }
    const { pid: _pid, startedAt: _startedAt, ...gone } = ztunnel
    await fakeMesh({ status: { proxies: [ztunnel, nacked, { ...gone, name: 'gone', ready: false }] } })
    const { out } = await run('status')
    expect(out.replace(/ {2,}/g, ' | ').split('\n')).toEqual([
      'NAME | NODE | TYPE | STATE | CONFIGURATION | RESTARTS | AGE',
      'ztunnel-node-a.istio-system | node-a | ztunnel | Ready | SYNCED | 0 | 3m12s',
      'ztunnel-node-b.istio-system | node-a | ztunnel | Ready | Address NACK, VirtualService STALE | 0 | 3m12s',
      'gone | node-a | ztunnel | Down | SYNCED | 0 | -',
      '',
    ])
    const one = (await run('status', 'ztunnel-node-b')).out
    expect(one).toContain(
      'TYPE            STATE  VERSION  LAST NACK\nAddress         NACK   2        no such field\n',
    )
    expect(one).toMatch(/^spiffe:\S+\/web +Available +42 +2026-01-02T00:00:00Z +2026-01-01T00:00:00Z$/m)
    expect((await run('status', 'ztunnel-node')).err).toContain('there is no proxy ztunnel-node;')
    expect((await run('status', 'ztunnel')).err).toContain('there is no proxy ztunnel;')
    expect((await run('status', 'nope')).err).toMatch(
      /^error: there is no proxy nope; there are: ztunnel-node-a/,
    )
    expect(JSON.parse((await run('status', '-o', 'json')).out).proxies).toHaveLength(3)
    expect((await run('status', 'gone', '-o', 'yaml')).out).toMatch(/^name: gone\nkind: ztunnel\n/)
  })

  test('problems of the manifests are told beside it', async () => {
    const at = { file: 'a.yaml', line: 3, column: 7, message: 'wrong' }
    await fakeMesh({ status: { problems: [{ ...at, severity: 'error' }] } })
    expect((await run('status')).err).toContain(
      'a.yaml:3:7: error: wrong\nthe mesh goes on with the last good',
    )
  })
})

describe('get pods', () => {
  const pod = { namespace: 'shop', node: 'n', address: '127.9.1.1', ready: true, enrolled: true, restarts: 2 }
  const pods = [
    { ...pod, name: 'b', labels: { app: 'web', v: '1' }, startedAt: Date.now() - 5_000 },
    { ...pod, name: 'a', labels: { app: 'db' }, startedAt: Date.now() - 5_000, ready: false },
    {
      ...pod,
      name: 'z',
      namespace: 'istio-system',
      labels: { app: 'ztunnel' },
      startedAt: Date.now() - 5_000,
    },
  ]
  const names = async (...args: string[]): Promise<string[]> =>
    (await run('get', 'pods', ...args)).out
      .split('\n')
      .slice(1, -1)
      .map(line => line.split(/ +/)[0] ?? '')

  test("kubectl's columns, namespaces and selectors", async () => {
    await fakeMesh({ status: { pods, proxies: [ztunnel] } })
    expect((await run('get', 'pods', '-n', 'shop')).out).toMatch(
      /^NAME {2}READY {2}STATUS {3}RESTARTS {2}AGE\na {5}0\/1 {4}Running {2}2 {9}\ds\nb {5}1\/1 /,
    )
    expect((await run('get', 'po', '-A', '-o', 'wide')).out).toMatch(
      /^NAMESPACE +NAME +READY +STATUS +RESTARTS +AGE +IP +NODE\n/,
    )
    expect(await names('-n', 'istio-system', '-l', 'app=ztunnel')).toEqual(['z', 'ztunnel-node-a'])
    expect(await names('-n', 'shop', '-l', 'app=web')).toEqual(['b'])
    expect(await names('-n', 'shop', '-l', 'app!=web')).toEqual(['a'])
    expect(await names('-n', 'shop', '-l', 'v')).toEqual(['b'])
    expect(await names('-n', 'shop', '-l', '!v, app == db')).toEqual(['a'])
    expect(await run('get', 'pods')).toEqual({
      code: 0,
      out: '',
      err: 'No resources found in default namespace.\n',
    })
    expect((await run('get', 'pods', '-l', 'a in (b)')).code).toBe(2)
    expect(JSON.parse((await run('get', 'pods', '-A', '-o', 'json')).out)).toHaveLength(4)
  })
})

describe('edits', () => {
  const manifest = 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n'

  test('wait until the mesh has them', async () => {
    await writeFile(join(meshes.path, 'ns.yaml'), manifest)
    const seen: boolean[] = []
    await fakeMesh({
      onStatus: mesh => {
        // The configuration counts up two looks after the first.
        if (seen.push(true) > 3) mesh.status = { ...mesh.status, generation: 2 }
      },
    })
    const { out, err } = await run('label', 'ns', 'shop', 'a=b')
    expect(out).toBe('namespace/shop labeled\n')
    expect(err).toMatch(/ns\.yaml written; configuration 2 is in place\n$/)
    expect(seen.length).toBeGreaterThan(3)
    expect(await readFile(join(meshes.path, 'ns.yaml'), 'utf8')).toContain('a: b')
  })

  test('a waypoint that does not get ready says why', async () => {
    await writeFile(join(meshes.path, 'ns.yaml'), manifest)
    const waypoint = {
      namespace: 'shop',
      name: 'waypoint',
      revision: 'default',
      trafficType: 'service',
      address: '',
    }
    const pending = { ...waypoint, programmed: false, reason: 'Pending', message: 'no process yet' }
    await fakeMesh({
      status: { waypoints: [pending] },
      onStatus: mesh => {
        mesh.status = { ...mesh.status, generation: mesh.status.generation + 1 }
      },
    })
    const applied = await run('waypoint', 'apply', '-n', 'shop', '--wait', '--waypoint-timeout', '10ms')
    expect(applied.code).toBe(1)
    expect(applied.err).toMatch(/^error: waypoint shop\/waypoint is not ready: Pending: no process yet$/m)
    expect(await run('waypoint', 'status', '-n', 'shop', '--no-wait')).toEqual({
      code: 1,
      out: 'NAMESPACE  NAME      STATUS  TYPE        REASON   MESSAGE\nshop       waypoint  False   Programmed  Pending  no process yet\n',
      err: '',
    })
  })
})

describe('run', () => {
  test('the program gets the environment, keeps its own PATH, and its exit code is passed on', async () => {
    const mesh = await fakeMesh()
    const given = testHost()
    const file = join(meshes.path, 'out')
    const host = {
      ...given.host,
      environment: { PATH: process.env['PATH'], OWN: 'kept', NODE_OPTIONS: '--no-deprecation' },
    }
    const script = `echo "$POD_IP|$OWN|$NODE_OPTIONS|\${PATH%%/nowhere*}" > ${file}; exit 7`
    const args = [
      'run',
      '--as',
      'shop/caller',
      '--port',
      '8080',
      '--label',
      'app=web',
      '--',
      'sh',
      '-c',
      script,
    ]
    expect(await runCli(args, host)).toBe(7)
    expect(await readFile(file, 'utf8')).toBe(
      `127.9.10.1|kept|--no-deprecation --no-warnings|${process.env['PATH']}\n`,
    )
    expect(mesh.requests).toEqual([
      { namespace: 'shop', serviceAccount: 'caller', ports: [8080], labels: { app: 'web' } },
    ])
    await expect.poll(mesh.joined).toBe(0)
  })

  test('signals are the program’s', async () => {
    await fakeMesh()
    const given = testHost()
    let interrupt: ((signal: NodeJS.Signals) => void) | undefined
    const host = {
      ...given.host,
      environment: process.env,
      onInterrupt: (listener: (signal: NodeJS.Signals) => void) => {
        interrupt = listener
        return () => {}
      },
    }
    const ready = join(meshes.path, 'ready')
    const code = runCli(['run', '--as', 'shop/caller', 'sh', '-c', `touch ${ready}; exec sleep 20`], host)
    await expect
      .poll(() =>
        readFile(ready).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true)
    interrupt?.('SIGTERM')
    expect(await code).toBe(128 + 15)
  })

  test('a program that is not there is 127', async () => {
    const mesh = await fakeMesh()
    const { code, err } = await run('run', '--as', 'shop/caller', '--', 'no-such-program')
    expect({ code, err }).toEqual({
      code: 127,
      err: 'error: no-such-program: not found [AMBIENT_E_CLI_SPAWN]\n',
    })
    await expect.poll(mesh.joined).toBe(0)
    expect((await run('run', '--as', 'shop', '--', 'x')).code).toBe(2)
  })
})
