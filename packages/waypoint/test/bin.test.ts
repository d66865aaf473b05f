/** The program itself, as it is built: arguments, bad configuration, signals. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { cleanup, loopbackAddress } from './world.ts'

const bin = fileURLToPath(new URL('../dist/bin.js', import.meta.url))
const ROOT = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'

function run(args: readonly string[], env: Record<string, string> = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>(resolve => {
    execFile(process.execPath, [bin, ...args], { env, timeout: 15_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    )
  })
}

describe('arguments', () => {
  it('version and help print and end with 0, anything else with help and 1', async () => {
    expect(await run(['version'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^ambient-waypoint \d/),
    })
    const help = await run(['help'])
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('usage: ambient-waypoint') })
    for (const flag of ['--help', '-h']) expect(await run([flag])).toEqual(help)
    expect(await run(['serve'])).toMatchObject({ code: 1, stderr: help.stdout })
  })
})

describe('a start that fails is one line and 1', () => {
  it('for what is missing', async () => {
    expect(await run([], { POD_NAMESPACE: 'shop' })).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'ambient-waypoint: GATEWAY_NAME is required: the name of the Gateway that this process serves\n',
    })
  })

  it('for nobody who signs certificates', async () => {
    const env = { POD_NAMESPACE: 'shop', GATEWAY_NAME: 'w', XDS_ADDRESS: '', CA_ADDRESS: '' }
    const { code, stderr } = await run([], env)
    expect(code).toBe(1)
    expect(stderr).toContain('ambient-waypoint: no source of certificates: CA_ADDRESS is empty\n')
  })
})

describe('a run', () => {
  it('waits for its control plane, says that it is not ready, and ends with 0 at SIGTERM', async () => {
    const ip = loopbackAddress()
    const child = spawn(process.execPath, [bin], {
      env: {
        POD_NAMESPACE: 'shop',
        GATEWAY_NAME: 'w',
        INSTANCE_IP: ip,
        XDS_ADDRESS: `https://${ip}:1`,
        CA_ADDRESS: `https://${ip}:1`,
        XDS_ROOT_CA: ROOT,
        CA_ROOT_CA: ROOT,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    cleanup(() => void child.kill('SIGKILL'))
    const lines = createInterface({ input: child.stdout })
    for await (const line of lines) if (/waypoint started/.test(line)) break
    const ready = await fetch(`http://${ip}:15021/healthz/ready`, { headers: { connection: 'close' } })
    expect([ready.status, await ready.text()]).toEqual([
      500,
      'not ready, pending: certificate, discovery, listener\n',
    ])
    child.stdout.resume()
    child.kill('SIGTERM')
    expect(await once(child, 'exit')).toEqual([0, null])
  })
})
