/** h2spec against the engine without TLS: what an HTTP/2 server must do, as somebody else reads the RFC. */
import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import { listen } from '@ambient/core/node'
import { createPlaintextServer } from '@ambient/hbone/conformance'
import { describe, expect, it } from 'vitest'
import { later } from './harness.ts'

const run = promisify(execFile)
const H2SPEC = process.env.H2SPEC ?? 'h2spec'

/** Why h2spec cannot be used, `undefined` when it can. */
function unusable(): string | undefined {
  try {
    execFileSync(H2SPEC, ['--version'])
    return undefined
  } catch {
    return 'there is no h2spec (set H2SPEC to one)'
  }
}

const reason = unusable()

describe.skipIf(reason !== undefined)(`h2spec${reason === undefined ? '' : ` (skipped: ${reason})`}`, () => {
  it.each([
    ['as the RFC is usually read', []],
    ['as it is read strictly', ['--strict']],
  ])('finds nothing, %s', async (_how, options) => {
    const server = createPlaintextServer({
      onTunnel: request => {
        const channel = request.accept()
        channel.start({
          data: bytes => channel.write(bytes),
          end: () => channel.end(),
          drained: () => {},
          finished: () => {},
          reset: () => {},
        })
      },
    })
    const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
    later(async () => {
      await port.close()
      await server.close({ graceMs: 0 })
    })
    const { stdout } = await run(H2SPEC, ['-p', String(port.port), ...options]).catch(
      (error: { readonly stdout?: string }) => ({ stdout: error.stdout ?? String(error) }),
    )
    const failures = stdout.includes('Failures:') ? stdout.slice(stdout.indexOf('Failures:')) : ''
    expect(failures).toBe('')
    const [, tests = '0', passed = ''] = /(\d+) tests, (\d+) passed, 0 skipped, 0 failed/.exec(stdout) ?? []
    expect(passed).toBe(tests)
    expect(Number(tests)).toBeGreaterThanOrEqual(145)
  })
})
