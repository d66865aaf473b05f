/** curl, speaking CONNECT over HTTP/2 with a client certificate, reaches a plain HTTP application through our server. */
import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pump } from '@ambient/core'
import { dial, socketChannel } from '@ambient/core/node'
import { readHostPort } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { harness, later, web } from './harness.ts'

const run = promisify(execFile)
const CURL = process.env.CURL ?? 'curl'
const BODY = Buffer.alloc(8 << 20, 'hbone')

/** Why curl cannot be used, `undefined` when it can: HTTP/2 to proxies came with 8.1. */
function unusable(): string | undefined {
  try {
    const version = execFileSync(CURL, ['--version']).toString()
    const [, major = '0', minor = '0'] = /^curl (\d+)\.(\d+)/.exec(version) ?? []
    if (Number(major) * 100 + Number(minor) < 801) return `curl ${major}.${minor} is older than 8.1`
    return /\bHTTP2\b/.test(version) ? undefined : 'this curl has no HTTP/2'
  } catch {
    return 'there is no curl (set CURL to one of 8.1 or later)'
  }
}

const reason = unusable()

describe.skipIf(reason !== undefined)(`curl${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  it('gets and puts 8 MiB through the tunnel, and is refused', async () => {
    const app = createServer((request, response) => {
      const hash = createHash('sha256')
      request.on('data', chunk => hash.update(chunk))
      request.on('end', () => response.end(request.method === 'PUT' ? hash.digest('hex') : BODY))
    })
    app.listen(0, '127.0.0.1')
    await once(app, 'listening')
    later(async () => {
      app.closeAllConnections()
      app.close()
    })
    const address = app.address()
    const target = `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
    let refused = 0
    const { port } = await harness({
      onTunnel: async request => {
        if (request.authority !== target) {
          refused++
          return request.refuse(401)
        }
        const to = readHostPort(request.authority)
        if (!to.ok) return request.refuse(400)
        const socket = await dial({ host: to.value.host, port: to.value.port })
        await pump(request.accept(), socketChannel(socket))
      },
    })
    const folder = await mkdtemp(join(tmpdir(), 'hbone-curl-'))
    later(() => rm(folder, { recursive: true }))
    const [cert, key, body] = [join(folder, 'cert.pem'), join(folder, 'key.pem'), join(folder, 'body')]
    await writeFile(cert, web.certificateChain)
    await writeFile(key, web.privateKey())
    await writeFile(body, BODY)
    const curl = (...args: string[]): Promise<{ stdout: Buffer }> =>
      run(
        CURL,
        [
          ...['--silent', '--show-error', '--fail', '--max-time', '15', '--noproxy', ''],
          ...['--proxytunnel', '--proxy-http2', '--proxy', `https://127.0.0.1:${port.port}`],
          ...['--proxy-cert', cert, '--proxy-key', key, '--proxy-insecure', ...args],
        ],
        { encoding: 'buffer', maxBuffer: 32 << 20 },
      )
    expect((await curl(`http://${target}/`)).stdout.equals(BODY)).toBe(true)
    const hash = createHash('sha256').update(BODY).digest('hex')
    expect((await curl('--upload-file', body, `http://${target}/`)).stdout.toString()).toBe(hash)
    // curl says no more of a refusal than that nothing came (56).
    await expect(curl('http://127.0.0.1:1/')).rejects.toMatchObject({ code: 56 })
    expect(refused).toBe(1)
  })
})
