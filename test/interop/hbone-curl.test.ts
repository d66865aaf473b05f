/**
 * curl as an independent client: an answer that is whole, one without a length that is cut by a reset of its server or of our
 * proxy, and curl's own death while it sends and while it reads. curl cannot reset a tunnel, cannot half-close one, and hears
 * of our END_STREAM only when both directions have ended (8.14), so the answer that is whole has a length.
 *
 * Needs curl 8.1 or later with HTTP/2; CURL=path chooses one.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { pump } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { describe, expect, it } from 'vitest'
import { deferred, harness, later, web } from './hbone-ends.ts'
import { App, MUCH, socketPair, until } from '../contracts/tcp-app.ts'
import { pemFiles } from './hbone-truth.ts'

const CURL = process.env['CURL'] ?? 'curl'
const MIB = 1 << 20

function missing(): string | undefined {
  try {
    const version = execFileSync(CURL, ['--version']).toString()
    const [, major = '0', minor = '0'] = /^curl (\d+)\.(\d+)/.exec(version) ?? []
    if (Number(major) * 100 + Number(minor) < 801) return `curl ${major}.${minor} is older than 8.1`
    return /\bHTTP2\b/.test(version) ? undefined : 'this curl has no HTTP/2'
  } catch {
    return 'there is no curl'
  }
}

interface Call {
  readonly curl: ChildProcess
  /** The server behind our proxy, which has read the head of curl's request. */
  readonly app: App
  readonly abort: AbortController
  readonly exit: Promise<number | null>
}

async function call(
  options: { readonly length?: number; readonly args?: readonly string[] } = {},
): Promise<Call> {
  const { length, args = [] } = options
  const abort = new AbortController()
  const app = deferred<App>()
  const { port } = await harness({
    onTunnel: async request => {
      const [ours, theirs] = await socketPair()
      app.resolve(new App(theirs, false))
      later(async () => void theirs.destroy())
      await pump(request.accept(), socketChannel(ours), { signal: abort.signal })
    },
  })
  const [cert, key] = pemFiles(web)
  const through = [
    '--proxytunnel',
    '--proxy-http2',
    '--proxy',
    `https://127.0.0.1:${port.port}`,
    '--noproxy',
    '',
  ]
  const proof = ['--proxy-cert', cert, '--proxy-key', key, '--proxy-insecure']
  const curl = spawn(
    CURL,
    ['-sS', '-m', '15', '-o', '/dev/null', ...through, ...proof, ...args, 'http://127.0.0.1:1/'],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  )
  const exit = once(curl, 'exit').then(([code]) => code as number | null)
  later(async () => {
    if (curl.exitCode === null && curl.signalCode === null) curl.kill('SIGKILL')
    await exit
  })
  const server = await app.promise
  await until(() => server.events.received > 0)
  server.socket.write(`HTTP/1.0 200 OK\r\n${length === undefined ? '' : `content-length: ${length}\r\n`}\r\n`)
  return { curl, app: server, abort, exit }
}

const why = missing()

describe.skipIf(why !== undefined)(`curl${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('takes an answer with a length as whole when its server ends behind it', async () => {
    const { app, exit } = await call({ length: MIB })
    app.send(MIB)
    app.end()
    expect(await exit).toBe(0)
  })

  it('fails when its server resets in the middle of an answer without a length', async () => {
    const { app, exit } = await call()
    app.send(1_000)
    await until(() => app.socket.writableLength === 0)
    app.reset()
    expect(await exit).not.toBe(0)
  })

  it('fails when our proxy cuts in the middle of an answer without a length', async () => {
    const { app, exit, abort } = await call()
    app.send(1_000)
    abort.abort(new Error('the policy changed'))
    expect(await exit).not.toBe(0)
    await app.events.seen('reset')
  })

  it('is killed while it reads: its server sees a reset', async () => {
    const { app, curl } = await call({ args: ['--limit-rate', '1M'] })
    app.send(MUCH)
    curl.kill('SIGKILL')
    await app.events.seen('reset')
    expect(app.ending).toBe('reset')
  })

  it('is killed while it sends: its server sees a reset behind what came', async () => {
    const { app, curl } = await call({ args: ['--limit-rate', '1M', '--upload-file', '/dev/zero'] })
    await until(() => app.events.received > 100_000)
    curl.kill('SIGKILL')
    await app.events.seen('reset')
    expect(app.ending).toBe('reset')
  })
})
