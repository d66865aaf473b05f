/** SOCKS5 messages and negotiations: bytes of RFC 1928 and 1929, authentication, what is left for the application. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { listen } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { formatRequest, parseGreeting, parsePassword, parseReply, parseRequest } from '../src/socks/codec.ts'
import {
  acceptSocks,
  replySocks,
  requestSocks,
  type SocksServerOptions,
  socksReplies,
} from '../src/socks/index.ts'
import { later } from './harness.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

describe('the codec', () => {
  it('reads each message only when it is whole, and leaves what follows', () => {
    const messages = [
      { parse: parseGreeting, bytes: hex('05 02 00 02'), value: [0, 2] },
      {
        parse: parsePassword,
        bytes: hex('01 02 6162 03 786976'),
        value: { username: 'ab', password: 'xiv' },
      },
      {
        parse: parseRequest,
        bytes: hex('05 01 00 01 0a000001 1f90'),
        value: { command: 1, host: '10.0.0.1', port: 8080 },
      },
      {
        parse: parseRequest,
        bytes: hex('05 01 00 04 fd00000000000000000000000000 0001 0050'),
        value: { command: 1, host: 'fd00::1', port: 80 },
      },
      {
        parse: parseRequest,
        bytes: hex('05 01 00 03 07 72657669657773 2378'),
        value: { command: 1, host: 'reviews', port: 9080 },
      },
      { parse: parseReply, bytes: hex('05 05 00 01 00000000 0000'), value: 5 },
    ]
    for (const { parse, bytes, value } of messages) {
      for (let cut = 0; cut < bytes.length; cut++)
        expect(parse(bytes.subarray(0, cut)), bytes.toString('hex')).toEqual({ kind: 'more' })
      const followed = Buffer.concat([bytes, Buffer.from('rest')])
      expect(parse(followed)).toEqual({ kind: 'done', value, length: bytes.length })
    }
  })

  it.each([
    ['another version', parseGreeting, '04 01'],
    ['no method', parseGreeting, '05 00'],
    ['another password version', parsePassword, '05 01'],
    ['an unknown address type', parseRequest, '05 01 00 02 00 00'],
    ['an empty name', parseRequest, '05 01 00 03 00 0050'],
    ['a line break in a name', parseRequest, '05 01 00 03 03 610a62 0050'],
    ['port 0', parseRequest, '05 01 00 01 0a000001 0000'],
  ])('refuses %s', (_, parse, bytes) => {
    expect(parse(hex(bytes)).kind).toBe('error')
  })

  it('writes requests for both families and for names', () => {
    expect(formatRequest({ host: '10.0.0.1', port: 80 })).toEqual(hex('05 01 00 01 0a000001 0050'))
    expect(formatRequest({ host: 'db', port: 3306 })).toEqual(hex('05 01 00 03 02 6462 0cea'))
    expect(parseRequest(formatRequest({ host: '::1', port: 1 }))).toMatchObject({
      value: { host: '::1', port: 1 },
    })
  })
})

describe('a negotiation', () => {
  const right: SocksServerOptions = {
    timeoutMs: 5_000,
    checkPassword: async (username, password) => username === 'ns/pod' && password === 'secret',
  }
  const login = Buffer.concat([hex('01 06'), Buffer.from('ns/pod'), hex('06'), Buffer.from('secret')])
  const request = formatRequest({ host: 'reviews', port: 9080 })

  it('with a password gives the target, and the application its first bytes', async () => {
    const { client, accepted } = await socketPair()
    const target = acceptSocks(accepted, right)
    client.write(hex('05 02 00 02'))
    expect(await readBytes(client, 2)).toEqual(hex('05 02'))
    client.write(login)
    expect(await readBytes(client, 2)).toEqual(hex('01 00'))
    client.write(Buffer.concat([request, Buffer.from('early')]))
    expect(await target).toEqual({ host: 'reviews', port: 9080 })
    expect((await readBytes(accepted, 5)).toString()).toBe('early')
    replySocks(accepted, socksReplies.succeeded)
    expect(await readBytes(client, 10)).toEqual(hex('05 00 00 01 00000000 0000'))
  })

  it('in one flight works, and an end that comes with it is kept', async () => {
    const { client, accepted } = await socketPair()
    const target = acceptSocks(accepted, right)
    client.end(Buffer.concat([hex('05 01 02'), login, request, Buffer.from('all')]))
    expect(await target).toMatchObject({ host: 'reviews' })
    expect(await text(accepted)).toBe('all')
  })

  it('without a password is for those that ask for none', async () => {
    const { client, accepted } = await socketPair()
    const target = acceptSocks(accepted, { timeoutMs: 5_000 })
    client.write(Buffer.concat([hex('05 01 00'), request]))
    expect(await target).toMatchObject({ port: 9080 })
    expect(await readBytes(client, 2)).toEqual(hex('05 00'))
  })

  it.each([
    ['no common method', hex('05 01 00'), '05ff', 'the client offers no user name and password'],
    [
      'a wrong password',
      Buffer.concat([hex('05 01 02'), hex('01 01 61 01 62')]),
      '0502 0101',
      'the user name or password is wrong',
    ],
    [
      'BIND',
      Buffer.concat([hex('05 01 02'), login, hex('05 02 00 01 0a000001 0050')]),
      '0502 0100 05070001000000000000',
      'command 2 is not supported',
    ],
  ])('fails with %s, and says so', async (_, bytes, answer, message) => {
    const { client, accepted } = await socketPair()
    const target = acceptSocks(accepted, right)
    client.write(bytes)
    await expect(target).rejects.toThrow(message)
    const expected = hex(answer)
    expect(await readBytes(client, expected.length)).toEqual(expected)
  })

  it('fails when the client leaves or is silent for too long', async () => {
    const gone = await socketPair()
    const left = acceptSocks(gone.accepted, right)
    gone.client.end(hex('05'))
    await expect(left).rejects.toThrow('the client left')

    const clock = createManualClock()
    const { accepted } = await socketPair()
    const slow = acceptSocks(accepted, { ...right, clock })
    clock.advance(5_000)
    await expect(slow).rejects.toMatchObject({ code: 'AMBIENT_E_HBONE_TIMEOUT' })
    expect(clock.pending).toBe(0)
  })
})

describe('a client', () => {
  const target = { host: 'reviews', port: 9080 }
  const login = { username: 'ns/pod', password: 'secret' }

  it.each([undefined, login])('and a server of ours understand each other (%o)', async given => {
    const { client, accepted } = await socketPair()
    const serving = acceptSocks(accepted, {
      timeoutMs: 5_000,
      ...(given === undefined
        ? {}
        : { checkPassword: (user, secret) => `${user}:${secret}` === 'ns/pod:secret' }),
    }).then(async asked => {
      replySocks(accepted, socksReplies.succeeded)
      accepted.end('first')
      return asked
    })
    const options = { timeoutMs: 5_000, ...(given === undefined ? {} : { login: given }) }
    expect(await requestSocks(client, target, options)).toBe(socksReplies.succeeded)
    expect(await serving).toEqual(target)
    // As with any socket: whoever listens makes it flow.
    const [first] = (await once(client, 'data')) as [Buffer]
    expect(first.toString()).toBe('first')
  })

  it.each([
    ['another method', '05ff', 'another authentication'],
    ['a verdict against the password', '0502 0101', 'does not take'],
    ['something else than SOCKS5', '4854', 'version 72 instead of 5'],
  ])('says so when the server answers with %s', async (_, answer, message) => {
    const { client, accepted } = await socketPair()
    accepted.write(hex(answer))
    const asking = requestSocks(client, target, { timeoutMs: 5_000, login })
    await expect(asking).rejects.toMatchObject({
      code: 'AMBIENT_E_SOCKS5',
      message: expect.stringContaining(message),
    })
  })
})

/** Both ends of one TCP connection, the accepted one paused as a listener of ours has it. */
async function socketPair(): Promise<{ client: Socket; accepted: Socket }> {
  const taken: ((socket: Socket) => void)[] = []
  const accepting = new Promise<Socket>(resolve => taken.push(resolve))
  const port = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: socket => {
      socket.on('error', () => {})
      for (const take of taken) take(socket)
    },
  })
  const client = connect({ host: port.address, port: port.port, allowHalfOpen: true })
  client.on('error', () => {})
  const [accepted] = await Promise.all([accepting, once(client, 'connect')])
  later(async () => {
    client.destroy()
    accepted.destroy()
    await port.close()
  })
  return { client, accepted }
}

async function readBytes(socket: Socket, count: number): Promise<Buffer> {
  for (;;) {
    const bytes: unknown = socket.read(count)
    if (bytes instanceof Buffer) return bytes
    await once(socket, 'readable')
  }
}

async function text(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
