/**
 * Our ztunnel and Istio's stand in for one another, in both roles, with our control plane and CA. Every pairing runs in two
 * network namespaces of its own. Needs root, Linux, iproute2, and the real ztunnel: ISTIO_ZTUNNEL=path/to/ztunnel.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'

const run = promisify(execFile)
const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures')
const ours = join(
  dirname(createRequire(import.meta.url).resolve('@ambient/ztunnel/package.json')),
  'dist',
  'bin.js',
)
const theirs = process.env['ISTIO_ZTUNNEL'] ?? ''
const CLIENT_IP = '10.99.0.1'
const SERVER_IP = '10.99.0.2'
const SERVICE_IP = '10.96.0.80'

/** A curl that can tunnel through an HTTP/2 proxy (8.1 and newer); CURL=path chooses another one. */
const curl8 = process.env['CURL'] ?? 'curl'
const canTunnel = await run(curl8, ['--version']).then(
  ({ stdout }) =>
    Number(/^curl (\d+)/.exec(stdout)?.[1] ?? 0) >= 8 && /HTTP2/.test(stdout) && /HTTPS-proxy/.test(stdout),
  () => false,
)
const isRoot = process.platform === 'linux' && process.getuid?.() === 0 && existsSync('/sbin/ip')
const children: ChildProcess[] = []
const cleanups: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Two hosts with one cable between them. */
async function twoHosts(): Promise<{ client: string; server: string }> {
  const id = `${process.pid % 10000}${Math.floor(Math.random() * 1000)}`
  const hosts = { client: `amb-c${id}`, server: `amb-s${id}` }
  for (const name of Object.values(hosts)) {
    await run('ip', ['netns', 'add', name])
    cleanups.push(() => run('ip', ['netns', 'del', name]))
    await run('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
  }
  await run('ip', [
    '-n',
    hosts.client,
    'link',
    'add',
    'wire',
    'type',
    'veth',
    'peer',
    'name',
    'wire',
    'netns',
    hosts.server,
  ])
  for (const [name, ip] of [
    [hosts.client, CLIENT_IP],
    [hosts.server, SERVER_IP],
  ] as const) {
    await run('ip', ['-n', name, 'addr', 'add', `${ip}/24`, 'dev', 'wire'])
    await run('ip', ['-n', name, 'link', 'set', 'wire', 'up'])
  }
  return hosts
}

interface Started {
  readonly child: ChildProcess
  readonly lines: string[]
  readonly saw: (pattern: RegExp) => Promise<string>
}

function start(host: string, command: readonly string[], env: Record<string, string> = {}): Started {
  const child = spawn('ip', ['netns', 'exec', host, ...command], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  const lines: string[] = []
  const waiting: { readonly pattern: RegExp; readonly resolve: (line: string) => void }[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', line => {
      lines.push(line)
      for (const entry of waiting) if (entry.pattern.test(line)) entry.resolve(line)
    })
  }
  const saw = (pattern: RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const present = lines.find(line => pattern.test(line))
      if (present !== undefined) return resolve(present)
      waiting.push({ pattern, resolve })
      child.once('exit', code =>
        reject(new Error(`${command[0]} ended with ${code}:\n${lines.slice(-20).join('\n')}`)),
      )
    })
  return { child, lines, saw }
}

const curl = async (host: string, ...args: string[]): Promise<{ code: number; out: string }> => {
  try {
    const { stdout } = await run('ip', ['netns', 'exec', host, 'curl', '-sS', '-m', '10', ...args], {
      maxBuffer: 64 << 20,
    })
    return { code: 0, out: stdout }
  } catch (error) {
    return { code: (error as { code?: number }).code ?? -1, out: (error as { stderr?: string }).stderr ?? '' }
  }
}

function ztunnelEnvironment(name: string, folder: string, node: string): Record<string, string> {
  return {
    PROXY_MODE: 'dedicated',
    PROXY_WORKLOAD_INFO: `default/${name}/${name}`,
    POD_NAME: name,
    POD_NAMESPACE: 'default',
    SERVICE_ACCOUNT: name,
    INSTANCE_IP: node,
    NODE_NAME: name,
    XDS_ADDRESS: `https://${CLIENT_IP}:15012`,
    CA_ADDRESS: `https://${CLIENT_IP}:15012`,
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

async function meshOf(client: 'ours' | 'theirs', server: 'ours' | 'theirs') {
  const hosts = await twoHosts()
  const folder = mkdtempSync(join(tmpdir(), 'ambient-interop-'))
  cleanups.push(async () => rmSync(folder, { recursive: true, force: true }))
  const plane = start(hosts.client, [
    process.execPath,
    join(fixtures, 'plane.mjs'),
    CLIENT_IP,
    CLIENT_IP,
    SERVER_IP,
    folder,
  ])
  const app = start(hosts.server, [process.execPath, join(fixtures, 'app.mjs'), SERVER_IP])
  await Promise.all([plane.saw(/^ready/), app.saw(/^ready/)])
  const command = (which: 'ours' | 'theirs'): string[] =>
    which === 'ours' ? [process.execPath, ours] : [theirs, 'proxy']
  const source = start(hosts.client, command(client), ztunnelEnvironment('client', folder, CLIENT_IP))
  const destination = start(hosts.server, command(server), ztunnelEnvironment('server', folder, SERVER_IP))
  await Promise.all([ready(hosts.client, source), ready(hosts.server, destination)])
  return { hosts, folder, source, destination }
}

/** Asks the readiness port until it says ready, for at most 15 s. */
async function ready(host: string, proxy: Started): Promise<void> {
  const { code } = await curl(
    host,
    '--retry',
    '30',
    '--retry-delay',
    '0',
    '--retry-max-time',
    '15',
    '--retry-all-errors',
    '-f',
    'http://127.0.0.1:15021/healthz/ready',
  )
  if (code !== 0) throw new Error(`ztunnel is not ready:\n${proxy.lines.slice(-20).join('\n')}`)
}

const pairings = [
  { client: 'ours', server: 'ours' },
  { client: 'ours', server: 'theirs' },
  { client: 'theirs', server: 'ours' },
] as const

describe('ztunnel interop', () => {
  const noCurl = !isRoot
    ? ' (skipped: needs root on Linux with iproute2)'
    : canTunnel
      ? ''
      : ' (skipped: needs curl 8.1 or newer with HTTP/2 and HTTPS proxies)'
  it.skipIf(noCurl !== '')(
    `curl tunnels through our ztunnel’s 15008${noCurl}`,
    { timeout: 90_000 },
    async () => {
      const mesh = await meshOf('ours', 'ours')
      const tunnel = [
        'netns',
        'exec',
        mesh.hosts.client,
        curl8,
        '-sS',
        '-m',
        '10',
        '--proxytunnel',
        '--proxy-http2',
        '--proxy-insecure',
        '--proxy',
        `https://${SERVER_IP}:15008`,
      ]
      const certificate = [
        '--proxy-cert',
        join(mesh.folder, 'client.pem'),
        '--proxy-key',
        join(mesh.folder, 'client.key'),
      ]
      const { stdout } = await run('ip', [...tunnel, ...certificate, `http://${SERVER_IP}:8080/`])
      expect(stdout).toMatch(/^hello/)
      // curl does not show the status of a refused HTTP/2 tunnel; the destination's ledger does.
      await expect(run('ip', [...tunnel, ...certificate, `http://${SERVER_IP}:8081/`])).rejects.toMatchObject(
        { code: 56 },
      )
      await mesh.destination.saw(/policy rejection: explicitly denied by: default\/deny-8081/)
      await expect(run('ip', [...tunnel, `http://${SERVER_IP}:8080/`])).rejects.toThrow()
      await mesh.destination.saw(
        /connection complete.*src.identity="spiffe:\/\/cluster.local\/ns\/default\/sa\/client"/,
      )
    },
  )

  for (const { client, server } of pairings) {
    const usesTheirs = client === 'theirs' || server === 'theirs'
    const why = !isRoot
      ? ' (skipped: needs root on Linux with iproute2)'
      : usesTheirs && theirs === ''
        ? ' (skipped: ISTIO_ZTUNNEL is not set)'
        : ''
    it.skipIf(why !== '')(
      `${client} as source, ${server} as destination${why}`,
      { timeout: 90_000 },
      async () => {
        const mesh = await meshOf(client, server)
        const proxy = ['-x', 'socks5://127.0.0.1:15080']

        const byPod = await curl(mesh.hosts.client, ...proxy, `http://${SERVER_IP}:8080/`)
        expect(byPod).toEqual({ code: 0, out: expect.stringMatching(/^hello 10\.99\.0\.\d 0\n$/) })
        const byService = await curl(mesh.hosts.client, ...proxy, `http://${SERVICE_IP}/`)
        expect(byService.out).toMatch(/^hello/)
        const download = await curl(
          mesh.hosts.client,
          ...proxy,
          '-o',
          '/dev/null',
          '-w',
          '%{size_download}',
          `http://${SERVICE_IP}/bytes/20000000`,
        )
        expect(download).toEqual({ code: 0, out: '20000000' })
        const denied = await curl(mesh.hosts.client, ...proxy, `http://${SERVER_IP}:8081/`)
        expect(denied.code).not.toBe(0)

        const allowedLine = await mesh.destination.saw(/connection complete.*direction="inbound"/)
        expect(allowedLine).toContain('src.identity="spiffe://cluster.local/ns/default/sa/client"')
        const deniedLine = await mesh.destination.saw(/policy rejection/)
        expect(deniedLine).toContain('default/deny-8081')
        const outbound = await mesh.source.saw(/connection complete.*direction="outbound"/)
        expect(outbound).toContain('dst.identity="spiffe://cluster.local/ns/default/sa/server"')
      },
    )
  }
})
