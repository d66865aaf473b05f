/** The reading room behind a tunnel's socket: what is an end, what is a reset, and what a tunnel is left with. */
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { Channel, ChannelReset } from '@ambient/core'
import { channelPair } from '@ambient/core/testing'
import { createTunnelSocket, type TunnelSocket } from '@ambient/hbone'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import type { Served } from '../src/http/room.ts'
import { answer, type Fixture, type FixtureOptions, inbound, startFixture } from './http-fixture.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

const facts = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '10.0.0.1', localPort: 80 }

async function start(
  options: FixtureOptions = {},
): Promise<{ readonly near: Channel; readonly served: Promise<Served> }> {
  fixture = await startFixture(options)
  const [near, far] = channelPair()
  const socket = createTunnelSocket(far, facts)
  return { near, served: fixture.room.serve(socket, inbound(socket, options.protocol)) }
}

/** What a ztunnel sees of a tunnel. */
function record(channel: Channel): { text: string; ended: boolean; reset: ChannelReset | undefined } {
  const seen: ReturnType<typeof record> = { text: '', ended: false, reset: undefined }
  channel.start({
    data(bytes) {
      seen.text += Buffer.from(bytes).toString('latin1')
      return false
    },
    end() {
      seen.ended = true
    },
    drained() {},
    finished() {},
    reset(reset) {
      seen.reset = reset
    },
  })
  return seen
}

function ask(socket: TunnelSocket, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    // The tunnel is no net.Socket by its type; Node takes any Duplex.
    const createConnection = (): Socket => socket as unknown as Socket
    const request: ClientRequest = httpRequest(
      { path, createConnection },
      async (message: IncomingMessage) => {
        let text = ''
        for await (const chunk of message) text += String(chunk)
        resolve(text)
      },
    )
    request.on('error', reject)
    request.end()
  })
}

describe('a tunnel', () => {
  it('carries HTTP/1.1 from Node’s client, megabytes of it', async () => {
    const { near, served } = await start({
      respond: () =>
        answer({ body: Readable.from(Array.from({ length: 64 }, () => Buffer.alloc(65_536, 'x'))) }),
    })
    expect(await ask(createTunnelSocket(near, facts), '/big')).toHaveLength(64 * 65_536)
    expect(await served).toEqual({ kind: 'http' })
  })

  it('ends with an end when the last answer is out, and with the answer before it', async () => {
    const { near, served } = await start({
      respond: () => answer({ body: Readable.from([Buffer.from('bye')]) }),
    })
    const seen = record(near)
    near.write(Buffer.from('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'))
    await vi.waitFor(() => expect(seen.ended).toBe(true))
    expect(seen.text).toMatch(/bye\r\n0\r\n\r\n$/)
    near.end()
    await served
    expect(seen.reset).toBeUndefined()
  })

  it('is reset when the upstream is cut', async () => {
    const { near, served } = await start({
      respond: () =>
        answer({
          headers: new HeaderFields([['content-length', '9']]),
          body: new Readable({
            read() {
              this.destroy(new Error('cut'))
            },
          }),
        }),
    })
    const seen = record(near)
    near.write(Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'))
    await served
    await vi.waitFor(() => expect(seen.reset).toBeDefined())
    expect(seen.ended).toBe(false)
  })

  it('that is reset cancels what is under way', async () => {
    const { near, served } = await start({
      respond: order =>
        new Promise(resolve => order.request.signal.addEventListener('abort', () => resolve(answer()))),
    })
    record(near)
    near.write(Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'))
    await vi.waitFor(() => expect(fixture?.ledger[0]?.steps).toContain('forward'))
    near.reset('CANCEL', 'gone')
    await served
    await fixture?.recorded(1)
    expect(fixture?.ledger[0]?.outcome).toMatchObject({ status: 0, flags: ['DC'] })
  })

  it('malformed bytes are answered, and the tunnel ends', async () => {
    const { near, served } = await start({ protocol: 'HTTP11' })
    const seen = record(near)
    near.write(Buffer.from('\x16\x03\x01 hello\r\n\r\n', 'latin1'))
    await vi.waitFor(() => expect(seen.ended).toBe(true))
    expect(seen.text).toMatch(/^HTTP\/1.1 400 Bad Request/)
    near.end()
    await served
  })

  it('carries HTTP/2, drains and closes it', async () => {
    const { near, served } = await start({
      limits: { drainIdleMs: 20 },
      respond: order => answer({ body: Readable.from([Buffer.alloc(200_000, order.request.path.slice(1))]) }),
    })
    const socket = createTunnelSocket(near, facts)
    const client = connectHttp2('http://app', { createConnection: () => socket })
    client.on('error', () => {})
    const bodies = await Promise.all(
      ['a', 'b', 'c'].map(async path => {
        const stream = client.request({ ':path': `/${path}` })
        let text = ''
        for await (const chunk of stream) text += String(chunk)
        return [text.length, text[0]]
      }),
    )
    expect(bodies).toEqual([
      [200_000, 'a'],
      [200_000, 'b'],
      [200_000, 'c'],
    ])
    const closed = once(client, 'close')
    fixture?.room.drain()
    await closed
    expect(await served).toEqual({ kind: 'http' })
  })

  it('whose HTTP/2 caller ends it is over', async () => {
    const { near, served } = await start({
      respond: order =>
        new Promise(resolve => order.request.signal.addEventListener('abort', () => resolve(answer()))),
    })
    const socket = createTunnelSocket(near, facts)
    const client = connectHttp2('http://app', { createConnection: () => socket })
    client.on('error', () => {})
    client.request({ ':path': '/' }).on('error', () => {})
    await vi.waitFor(() => expect(fixture?.ledger[0]?.steps).toContain('forward'))
    client.destroy()
    await served
    await fixture?.recorded(1)
    expect(fixture?.ledger[0]?.outcome).toMatchObject({ status: 0, flags: ['DC'] })
  })
})
