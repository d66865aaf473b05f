/** `ambient hbone conformance`: the tables and exit codes that scripts see. */
import { createHbonePool } from '@ambient/hbone'
import { clientCases, serverCases } from '@ambient/hbone/conformance'
import { describe, expect, it } from 'vitest'
import { atEnd, certificateFiles, start, tcpServer } from './hbone-fixture.ts'
import { run } from './host.ts'

describe('conformance --target', () => {
  it('passes our own server, row by row, also when it echoes by itself', async () => {
    const files = await certificateFiles()
    const own = await files.of('server')
    const dialling = start(['serve', '--listen', '127.0.0.1:0', '--allow-target', '*', ...own])
    const target = ['--target', `127.0.0.1:${await dialling.port()}`, ...(await files.of('client'))]
    const asked = start(['conformance', ...target])
    expect(await asked.code).toBe(0)
    expect(asked.err()).toContain(`${serverCases.length} cases: ${serverCases.length} passed, 0 failed`)
    const [head, first, ...rest] = asked.out().trim().split('\n')
    expect(head).toMatch(/^RESULT +LEVEL +CASE +REQUIREMENT +WHAT$/)
    expect(first).toMatch(/^pass +MUST +tls-1\.3 +HBONE-TLS-1 +speaks TLS 1\.3$/)
    expect(rest).toHaveLength(serverCases.length - 1)

    const echoing = start(['serve', '--listen', '127.0.0.1:0', '--echo', ...own])
    const again = ['--target', `127.0.0.1:${await echoing.port()}`, ...(await files.of('client'))]
    const cases = ['--case', 'echo', '--case', 'end-of-client']
    const alone = start(['conformance', ...again, ...cases, '--authority', 'nowhere.example:7', '-o', 'json'])
    expect(await alone.code).toBe(0)
    expect(JSON.parse(alone.out())).toMatchObject([
      { id: 'echo', requirement: 'HBONE-BYTE-1', level: 'MUST', outcome: 'pass', detail: '' },
      { id: 'end-of-client', outcome: 'skip', detail: expect.stringContaining('not ours') },
    ])
  }, 30_000)

  it('says what is wrong when there is nothing to ask', async () => {
    const files = await certificateFiles()
    const own = await files.of('client')
    const silent = await tcpServer(socket => socket.destroy())
    const ask = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await run('hbone', 'conformance', ...args, ...own)
      expect(out).toBe('')
      return `${code} ${err}`
    }
    expect(await ask('--target', '127.0.0.1:1')).toMatch(
      /^1 error: no HBONE session with 127\.0\.0\.1:1: .*\[AMBIENT_E_HBONE_UNREACHABLE]/,
    )
    expect(await ask('--target', `127.0.0.1:${silent.port}`)).toMatch(/^1 error: TLS with .*\[AMBIENT_E_TLS]/)
    const server = start(['serve', '--listen', '127.0.0.1:0', ...(await files.of('server'))])
    const target = ['--target', `127.0.0.1:${await server.port()}`]
    expect(await ask(...target)).toMatch(/^1 error: .* with 401: it must let us reach a target that echoes/)
    expect(await ask(...target, '--peer', 'spiffe://cluster.local/ns/shop/sa/other')).toMatch(
      /^1 error: identity verification error: .*\[AMBIENT_E_PEER_IDENTITY]/,
    )
    expect(await ask(...target, '--case', 'nothing')).toMatch(/^2 error: --case nothing: .* --list has them/)
    expect(await ask()).toMatch(/^2 error: give --target/)
    expect(await ask('--target', '127.0.0.1:1', '--listen', '127.0.0.1:0')).toMatch(/^2 error: give --target/)
  })

  it('lists its cases', async () => {
    const { code, out } = await run('hbone', 'conformance', '--list')
    expect(code).toBe(0)
    expect(out.trim().split('\n')).toHaveLength(1 + serverCases.length + clientCases.length)
  })
})

describe('conformance --listen', () => {
  it('waits for a client and fails one that sends no certificate of its own kind', async () => {
    const files = await certificateFiles()
    const listening = start([
      'conformance',
      '--listen',
      '127.0.0.1:0',
      ...['--case', 'client-alpn', '--case', 'client-baggage'],
      ...(await files.of('server')),
    ])
    const to = { address: '127.0.0.1', port: await listening.port() }
    const pool = createHbonePool()
    atEnd(() => pool.close({ graceMs: 0 }))
    const credentials = await files.identities.credentials({ namespace: 'shop', serviceAccount: 'client' })
    const server = await files.identities.credentials({ namespace: 'shop', serviceAccount: 'server' })
    pool.connect({ credentials, to, expect: [server.id], authority: '10.0.0.7:80' }).catch(() => {})
    // No baggage is a broken SHOULD: a warning.
    expect(await listening.code).toBe(0)
    expect(listening.out()).toMatch(/^pass +MUST +client-alpn /m)
    expect(listening.out()).toMatch(/^warn +SHOULD +client-baggage .*: sent none$/m)
    expect(listening.err()).toContain('connection 1 of 1: a tunnel; waiting for a client')
  })

  it('is interrupted', async () => {
    const files = await certificateFiles()
    const listening = start(['conformance', '--listen', '127.0.0.1:0', ...(await files.of('server'))])
    await listening.port()
    listening.interrupt()
    expect(await listening.code).toBe(130)
  })
})
