/**
 * Hosts for interop tests: network namespaces on one bridge, programs in them, and curl as their user. Needs root, Linux
 * and iproute2. Everything is ended and removed by `endHosts`.
 */
import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

export const run = promisify(execFile)

/** Whether network namespaces can be made here. */
export const canMakeHosts = process.platform === 'linux' && process.getuid?.() === 0 && existsSync('/sbin/ip')

const children: ChildProcessWithoutNullStreams[] = []
const cleanups: (() => Promise<unknown>)[] = []

/** Called at the end, the latest first. */
export function atEnd(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup)
}

export async function endHosts(): Promise<void> {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
}

/** Hosts by name with an address each, `10.99.0.0/24`, on one switch. Gives the names of their namespaces. */
export async function makeHosts<Name extends string>(
  addresses: Readonly<Record<Name, string>>,
): Promise<Readonly<Record<Name, string>>> {
  const id = `${process.pid % 10000}${Math.floor(Math.random() * 1000)}`
  const bridge = `amb-w${id}`
  await makeNamespace(bridge)
  await run('ip', ['-n', bridge, 'link', 'add', 'switch', 'type', 'bridge'])
  await run('ip', ['-n', bridge, 'link', 'set', 'switch', 'up'])
  const hosts: Partial<Record<Name, string>> = {}
  const names = Object.keys(addresses) as Name[]
  for (const [index, name] of names.entries()) {
    const host = `amb-${index}${id}`
    hosts[name] = host
    await makeNamespace(host)
    const far = `port${index}`
    await run('ip', ['-n', host, 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', far, 'netns', bridge])
    await run('ip', ['-n', host, 'addr', 'add', `${addresses[name]}/24`, 'dev', 'wire'])
    await run('ip', ['-n', host, 'link', 'set', 'wire', 'up'])
    await run('ip', ['-n', bridge, 'link', 'set', far, 'master', 'switch'])
    await run('ip', ['-n', bridge, 'link', 'set', far, 'up'])
  }
  return hosts as Record<Name, string>
}

async function makeNamespace(name: string): Promise<void> {
  await run('ip', ['netns', 'add', name])
  cleanups.push(() => run('ip', ['netns', 'del', name]))
  await run('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
}

export interface Started {
  readonly child: ChildProcessWithoutNullStreams
  readonly lines: string[]
  /** The first line, past or to come, that matches; lines before number `from` do not count. */
  readonly saw: (pattern: RegExp, from?: number) => Promise<string>
}

interface Waiting {
  readonly pattern: RegExp
  readonly resolve: (line: string) => void
  readonly reject: (error: Error) => void
}

export function startOn(host: string, command: readonly string[], env: Record<string, string> = {}): Started {
  const child = spawn('ip', ['netns', 'exec', host, ...command], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  children.push(child)
  const lines: string[] = []
  let waiting: Waiting[] = []
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', line => {
      lines.push(line)
      for (const { pattern, resolve } of waiting) if (pattern.test(line)) resolve(line)
      waiting = waiting.filter(({ pattern }) => !pattern.test(line))
    })
  child.once('exit', code => {
    for (const { reject } of waiting)
      reject(new Error(`${command[0]} ended with ${code}:\n${lines.slice(-20).join('\n')}`))
  })
  const saw = (pattern: RegExp, from = 0): Promise<string> =>
    new Promise((resolve, reject) => {
      const present = lines.find((line, index) => index >= from && pattern.test(line))
      if (present === undefined) waiting.push({ pattern, resolve, reject })
      else resolve(present)
    })
  return { child, lines, saw }
}

export async function curlOn(host: string, ...args: string[]): Promise<{ code: number; out: string }> {
  try {
    const { stdout } = await run('ip', ['netns', 'exec', host, 'curl', '-sS', '-m', '10', ...args], {
      maxBuffer: 64 << 20,
    })
    return { code: 0, out: stdout }
  } catch (error) {
    return { code: (error as { code?: number }).code ?? -1, out: (error as { stderr?: string }).stderr ?? '' }
  }
}

/** Asks the readiness port until it says ready, for at most 15 s. */
export async function awaitReady(host: string, proxy: Started): Promise<void> {
  const retry = ['--retry', '30', '--retry-delay', '0', '--retry-max-time', '15', '--retry-all-errors']
  const { code } = await curlOn(host, ...retry, '-f', 'http://127.0.0.1:15021/healthz/ready')
  if (code !== 0) throw new Error(`the proxy is not ready:\n${proxy.lines.slice(-20).join('\n')}`)
}
