/** `ambient connect`, through a mesh that a test plays. */
import { once } from 'node:events'
import net from 'node:net'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { runCli } from '../src/index.ts'
import { run, testHost } from './host.ts'
import { useMeshFolder } from './mesh-folder.ts'
const meshes = useMeshFolder()
const fakeMesh = meshes.fakeMesh

/** A server whose sockets stay open for as long as it says; its port. */
async function serve(onConnection: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, onConnection).listen(0, '127.0.0.1')
  meshes.atEnd(() => server.close())
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

describe('connect', () => {
  async function connect(
    port: number | undefined,
    input: PassThrough,
  ): Promise<{ code: number; out: string; err: string }> {
    const mesh = await fakeMesh(port === undefined ? {} : { port })
    const given = testHost()
    const output = new PassThrough()
    const host = { ...given.host, input, output }
    const code = await runCli(['connect', '--as', 'shop/caller', 'web.shop:80'], host)
    output.end()
    await expect.poll(mesh.joined).toBe(0)
    expect(mesh.requests).toEqual([{ namespace: 'shop', serviceAccount: 'caller' }])
    return { code, out: await text(output), err: given.err() }
  }

  test('the end of standard input ends our direction; the command ends with the other', async () => {
    const port = await serve(socket => {
      let heard = ''
      socket.on('data', chunk => {
        heard += String(chunk)
      })
      socket.on('end', () => socket.end(`heard ${heard}`))
    })
    const input = new PassThrough()
    input.end('a question')
    expect(await connect(port, input)).toEqual({ code: 0, out: 'heard a question', err: '' })
  })

  test('a peer that ends first ends the command, whatever standard input does', async () => {
    const port = await serve(socket => socket.end('bye'))
    expect(await connect(port, new PassThrough())).toEqual({ code: 0, out: 'bye', err: '' })
  })

  test('a reset is an error', async () => {
    const port = await serve(socket => {
      socket.write('half')
      socket.once('data', () => socket.resetAndDestroy())
    })
    const input = new PassThrough()
    input.write('x')
    const { code, err } = await connect(port, input)
    expect(code).toBe(1)
    expect(err).toBe('error: web.shop:80: the connection was reset [AMBIENT_E_CLI_CONNECT]\n')
  })

  test('Ctrl-C is neither an end nor an error: 130', async () => {
    let interrupt = (): void => {}
    const port = await serve(socket => socket.on('data', () => interrupt()))
    const mesh = await fakeMesh({ port })
    const input = new PassThrough()
    const host = {
      ...testHost().host,
      input,
      onInterrupt: (listener: (signal: NodeJS.Signals) => void) => {
        interrupt = () => listener('SIGINT')
        return () => {}
      },
    }
    input.write('x')
    expect(await runCli(['connect', '--as', 'shop/caller', 'web.shop:80'], host)).toBe(130)
    await expect.poll(mesh.joined).toBe(0)
  })

  test('a refused connection is one too, with its reason', async () => {
    const { code, err } = await connect(undefined, new PassThrough())
    expect(code).toBe(1)
    expect(err).toMatch(
      /^error: web\.shop:80: not allowed; the output of `ambient up` says .* \[AMBIENT_E_CLI_CONNECT\]\n$/,
    )
  })

  test('an account that cannot be is an error of --as, whose default is readable', async () => {
    const refusal = {
      code: 'AMBIENT_E_MESH_NOT_FOUND',
      message: 'there is no namespace x; there are: default',
    }
    await fakeMesh({ refusal })
    for (const command of [
      ['connect', '--as', 'x/y', 'web.shop:80'],
      ['run', '--as', 'x/y', 'true'],
    ])
      expect(await run(...command)).toMatchObject({
        code: 1,
        err: `error: --as x/y: ${refusal.message} [AMBIENT_E_CLI_NOT_FOUND]\n`,
      })
    expect((await run('connect', '--help')).out).toMatch(/\(default:\s+default\/default\)/)
  })

  test('what is no target is a usage error', async () => {
    expect(await run('connect', 'web')).toMatchObject({
      code: 2,
      err: expect.stringContaining('expected HOST:PORT'),
    })
  })
})
