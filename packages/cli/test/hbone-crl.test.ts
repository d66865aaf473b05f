/** `ambient hbone serve | forward | connect --crl`: peers that are revoked while they are there, and afterwards. */
import { once } from 'node:events'
import { readFile, rename, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { run } from './host.ts'
import { ask, atEnd, certificateFiles, type Started, start, typed } from './hbone-fixture.ts'

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client'
const SERVER = 'spiffe://cluster.local/ns/shop/sa/server'
const ECHO = ['serve', '--listen', '127.0.0.1:0', '--echo']
const TARGET = ['--target', '10.0.0.1:80']

/** Accounts with their files, and a list of who of them is revoked. */
async function revocations() {
  const files = await certificateFiles()
  const crl = join(files.folder, 'crl.pem')
  const revoke = async (...accounts: readonly string[]): Promise<void> => {
    const chains = accounts.map(account => readFile(join(files.folder, `${account}.crt`), 'utf8'))
    await writeFile(`${crl}.next`, await files.identities.revocationList(await Promise.all(chains)))
    await rename(`${crl}.next`, crl)
  }
  const own = new Map<string, readonly string[]>()
  for (const account of ['server', 'client', 'other']) own.set(account, await files.of(account))
  await revoke()
  return { crl, revoke, of: (account: string) => own.get(account) ?? [] }
}

async function asks(server: Started, own: readonly string[]): Promise<{ code: number; heard: string }> {
  const output = new PassThrough()
  const via = ['connect', '--via', `127.0.0.1:${await server.port()}`, ...TARGET]
  const command = start([...via, ...own], { input: typed('hi'), output })
  const code = await command.code
  output.end()
  return { code, heard: await text(output) }
}

/** A connection through `forward` that was answered once. */
async function live(port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  atEnd(() => socket.destroy())
  socket.write('ping')
  expect(String((await once(socket, 'data'))[0])).toBe('ping')
  return socket
}

describe('--crl', () => {
  it.each([
    ['its trust domain', []],
    ['its name', ['--peer', CLIENT, '--peer', 'spiffe://cluster.local/ns/shop/sa/other']],
  ])(
    'serve ends the sessions of a client that is revoked, and takes no new ones: known by %s',
    async (_how, wanted) => {
      const { crl, revoke, of } = await revocations()
      const server = start([...ECHO, '--crl', crl, ...wanted, ...of('server')])
      const via = ['--via', `127.0.0.1:${await server.port()}`, '--forward', '127.0.0.1:0=10.0.0.1:80']
      const forward = start(['forward', ...via, ...of('client')])
      const other = start(['forward', ...via, ...of('other')])
      const [cut, stays] = [await live(await forward.port()), await live(await other.port())]
      const ended = once(cut, 'end')
      await revoke('client')
      await expect(ended).rejects.toMatchObject({ code: 'ECONNRESET' })
      expect(server.err()).toMatch(/warn a session was ended .*was revoked by its issuer/)
      expect(server.err()).toContain('warn sessions ended, their peers are no longer believed sessions=1')
      await expect(ask(await forward.port(), 'again')).rejects.toMatchObject({ code: 'ECONNRESET' })
      await expect.poll(server.err).toMatch(/a connection carried no tunnel .*was revoked by its issuer/)
      stays.end('pong')
      expect(await text(stays)).toBe('pong')
    },
  )

  it('forward ends its session with a server that is revoked', async () => {
    const { crl, revoke, of } = await revocations()
    const server = start([...ECHO, ...of('server')])
    const via = ['--via', `127.0.0.1:${await server.port()}`, '--forward', '127.0.0.1:0=10.0.0.1:80']
    const forward = start(['forward', ...via, '--crl', crl, '--peer', SERVER, ...of('client')])
    const ended = once(await live(await forward.port()), 'end')
    await revoke('server')
    await expect(ended).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(forward.err()).toContain('sessions ended, their peers are no longer believed sessions=1')
    await expect(ask(await forward.port(), 'again')).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(forward.err()).toMatch(/connection reset .*AMBIENT_E_PEER_IDENTITY.*was revoked by its issuer/)
  })

  it('connect refuses a server that is revoked, and lets go of one that becomes so', async () => {
    const { crl, revoke, of } = await revocations()
    const server = start([...ECHO, ...of('server')])
    expect(await asks(server, ['--crl', crl, ...of('client')])).toEqual({ code: 0, heard: 'hi' })
    const [input, output] = [new PassThrough(), new PassThrough()]
    const via = ['connect', '--via', `127.0.0.1:${await server.port()}`, ...TARGET]
    const command = start([...via, '--crl', crl, ...of('client')], { input, output })
    input.write('ping')
    await once(output, 'data')
    await revoke('server')
    expect(await command.code).toBe(1)
    expect(command.err()).toMatch(/the tunnel .*was cut: .*is no longer believed.*was revoked/)
    expect(await asks(server, ['--crl', crl, ...of('client')])).toMatchObject({ code: 1, heard: '' })
  })

  it('keeps the last good list when the file is none any more', async () => {
    const { crl, revoke, of } = await revocations()
    await revoke('client')
    const server = start([...ECHO, '--crl', crl, ...of('server')])
    expect((await asks(server, of('client'))).code).toBe(1)
    await writeFile(crl, '-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n')
    await expect.poll(server.err, { timeout: 10_000 }).toContain('those of before stay in force')
    expect((await asks(server, of('client'))).code).toBe(1)
    expect(await asks(server, of('other'))).toEqual({ code: 0, heard: 'hi' })
  })

  it('is a file with lists, from the start', async () => {
    const { crl, of } = await revocations()
    const failed = async (path: string): Promise<string> => {
      const { code, err } = await run('hbone', ...ECHO, '--crl', path, ...of('server'))
      return `${code} ${err}`
    }
    expect(await failed(`${crl}.none`)).toMatch(
      /^1 error: --crl \S+crl.pem.none: no such file \[AMBIENT_E_CLI_CREDENTIALS\]\n$/,
    )
    expect(await failed(of('server')[1] ?? '')).toMatch(/^1 error: --crl \S+server.crt: /)
    expect(await failed('')).toMatch(/^2 error: --crl: expected a file/)
    const plain = start([...ECHO, '--plaintext', '--crl', crl])
    await plain.port()
    await expect.poll(plain.err).toContain('without effect: --crl: --plaintext proves nobody')
  })
})
