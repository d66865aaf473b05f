/** The program itself, as it is built: arguments, bad configuration, start, signals. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { cleanup, loopbackAddress, serve } from './sockets.ts'

const bin = fileURLToPath(new URL('../dist/bin.js', import.meta.url))

function run(args: readonly string[], env: Record<string, string> = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>(resolve => {
    execFile(process.execPath, [bin, ...args], { env, timeout: 15_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    )
  })
}

const local = (ip: string): Record<string, string> => ({
  PROXY_MODE: 'dedicated',
  PROXY_WORKLOAD_INFO: 'default/a/a',
  INSTANCE_IP: ip,
  XDS_ADDRESS: '',
  FAKE_CA: 'true',
  LOCAL_XDS: `{workloads: [{name: a, namespace: default, serviceAccount: a, workloadIps: [${ip}], services: {}}]}`,
})

function start(env: Record<string, string>): {
  child: ChildProcess
  line: (fits: RegExp) => Promise<string>
} {
  const child = spawn(process.execPath, [bin], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  cleanup(() => void child.kill('SIGKILL'))
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  reader.on('line', line => lines.push(line))
  return {
    child,
    line: fits =>
      new Promise(resolve => {
        const found = lines.find(line => fits.test(line))
        if (found !== undefined) return resolve(found)
        reader.on('line', line => {
          if (fits.test(line)) resolve(line)
        })
      }),
  }
}

describe('arguments', () => {
  it('version and help print and end with 0, anything else with help and 1', async () => {
    expect(await run(['version'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^ambient-ztunnel \d/),
    })
    const help = await run(['help'])
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('usage: ambient-ztunnel') })
    for (const flag of ['--help', '-h']) expect(await run([flag])).toEqual(help)
    expect(await run(['serve'])).toMatchObject({ code: 1, stderr: help.stdout })
  })
})

describe('a start that fails is one line and 1', () => {
  it('for a malformed variable', async () => {
    expect(await run([], { ENABLE_PROXY: 'yes' })).toEqual({
      code: 1,
      stdout: '',
      stderr: 'ambient-ztunnel: invalid env var ENABLE_PROXY=yes (expected true or false)\n',
    })
  })

  it('for a mistake in the local file, with its place', async () => {
    const { code, stderr } = await run(['proxy', 'ztunnel'], {
      ...local(loopbackAddress()),
      LOCAL_XDS: 'workloads:\n  - nome: a\n',
    })
    expect(code).toBe(1)
    expect(stderr).toMatch(/LOCAL_XDS:2:\d+: error: /)
  })

  it.each([15000, 15001, 15006, 15008])('for port %i, which somebody has', async port => {
    const ip = loopbackAddress()
    await serve(socket => socket.destroy(), { host: ip, port })
    const { code, stderr } = await run([], local(ip))
    expect(code).toBe(1)
    expect(stderr).toContain(`cannot listen on ${ip}:${port}: port ${port} is in use`)
  })
})

describe('a run', () => {
  it('is ready, and ends with 0 at SIGTERM', async () => {
    const ip = loopbackAddress()
    const { child, line } = start(local(ip))
    await line(/ztunnel is ready/)
    const ready = await fetch(`http://${ip}:15021/healthz/ready`, { headers: { connection: 'close' } })
    expect(await ready.text()).toBe('ready\n')
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it('ends with 0 at quitquitquit', async () => {
    const ip = loopbackAddress()
    const { child, line } = start(local(ip))
    await line(/ztunnel is ready/)
    await fetch(`http://${ip}:15000/quitquitquit`, { method: 'POST', headers: { connection: 'close' } })
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it('says so when Node is past its end of life, once', async () => {
    if (!process.versions.node.startsWith('20.')) return
    const { stderr } = await run([], { ...local(loopbackAddress()), LOCAL_XDS: 'x: 1' })
    expect(stderr.match(/past its end of life/g)).toHaveLength(1)
  })
})
