/** What is no CONNECT gets a 400 that a person can read, and its body is as long as it says or the stream is in error. */
import { describe, expect, it } from 'vitest'
import { encodeHeaders, type HeaderList, HpackDecoder } from '../src/http2/hpack.ts'
import { readRequestHead } from '../src/http2/message.ts'
import { db, harness, web } from './harness.ts'
import { frame, type RawPeer, rawClient, TYPE } from './raw-peer.ts'

const PROTOCOL_ERROR = 1
const NO_ERROR = 0

function post(method: string, ...fields: HeaderList): HeaderList {
  return [[':method', method], [':scheme', 'https'], [':path', '/'], [':authority', 'example.org'], ...fields]
}

/** A session of our own server that hands nothing out. */
async function open(): Promise<RawPeer> {
  const { port } = await harness({
    onTunnel: () => {
      throw new Error('nothing here is a tunnel')
    },
    credentials: () => db,
  })
  const peer = await rawClient(port.port, web)
  peer.settings()
  return peer
}

function head(id: number, list: HeaderList, flags = 4): Buffer {
  return frame(TYPE.headers, flags, id, encodeHeaders(list))
}

function resetCode(peer: RawPeer, id: number): number | undefined {
  return peer.find(TYPE.reset, id)?.payload.readUInt32BE()
}

describe('a request that is no CONNECT', () => {
  it('is answered 400 with a text that says why', async () => {
    const peer = await open()
    peer.write(head(1, post('GET'), 5))
    await peer.until(() => peer.all(TYPE.data, 1).some(({ flags }) => (flags & 1) !== 0))
    const answer = new HpackDecoder(4_096).decode(peer.find(TYPE.headers, 1)?.payload ?? Buffer.of())
    const text = Buffer.concat(peer.all(TYPE.data, 1).map(({ payload }) => payload)).toString()
    expect(answer.headers).toEqual([
      [':status', '400'],
      ['content-type', 'text/plain; charset=utf-8'],
      ['content-length', String(text.length)],
    ])
    expect(text).toBe('expected method CONNECT, got "GET"\n')
    expect(text.length).toBeGreaterThanOrEqual(28)
    await peer.sync()
    expect(peer.find(TYPE.reset, 1)).toBeUndefined()
  })

  it('has no text when it is HEAD, and none when it is a CONNECT to nowhere', async () => {
    const peer = await open()
    peer.write(head(1, post('HEAD'), 5))
    peer.write(
      head(3, [
        [':method', 'CONNECT'],
        [':authority', 'nowhere'],
      ]),
    )
    await peer.until(
      () => peer.find(TYPE.headers, 1) !== undefined && peer.find(TYPE.headers, 3) !== undefined,
    )
    await peer.sync()
    expect(peer.all(TYPE.headers).map(({ flags }) => flags & 1)).toEqual([1, 1])
    expect(peer.all(TYPE.data)).toEqual([])
  })

  it.each([
    ['shorter', 'abc', false],
    ['longer', 'abcde', false],
    ['shorter, its end in trailers', 'abc', true],
  ])(
    'whose body is %s than content-length says is reset with PROTOCOL_ERROR',
    async (_how, body, withTrailers) => {
      const peer = await open()
      peer.write(
        head(1, post('POST', ['content-length', '4'])),
        frame(TYPE.data, withTrailers ? 0 : 1, 1, body),
        ...(withTrailers ? [head(1, [['x', 'y']], 5)] : []),
      )
      await peer.until(() => peer.find(TYPE.reset, 1) !== undefined)
      expect(resetCode(peer, 1)).toBe(PROTOCOL_ERROR)
    },
  )

  it('is reset when its head ends the stream and still declares a body, and when its trailers are malformed', async () => {
    const peer = await open()
    peer.write(head(1, post('POST', ['content-length', '4']), 5))
    peer.write(head(3, post('POST')), head(3, [[':path', '/']], 5))
    await peer.until(() => peer.find(TYPE.reset, 1) !== undefined && peer.find(TYPE.reset, 3) !== undefined)
    expect([resetCode(peer, 1), resetCode(peer, 3)]).toEqual([PROTOCOL_ERROR, PROTOCOL_ERROR])
  })

  it('may have a body that is as long as it says, in pieces and padded', async () => {
    const peer = await open()
    peer.write(head(1, post('POST', ['content-length', '6'])))
    peer.write(frame(TYPE.data, 8, 1, '\u0003abc...'), frame(TYPE.data, 1, 1, 'def'))
    await peer.until(() => peer.all(TYPE.data, 1).some(({ flags }) => (flags & 1) !== 0))
    await peer.sync()
    expect(peer.find(TYPE.reset, 1)).toBeUndefined()
    expect(peer.goawayCode).toBeUndefined()
  })

  it('is told to stop when its body is long and nobody wants it', async () => {
    const peer = await open()
    peer.write(head(1, post('POST')))
    for (let sent = 0; sent < 5; sent++) peer.write(frame(TYPE.data, 0, 1, Buffer.alloc(13_000)))
    await peer.until(() => peer.find(TYPE.update, 1) !== undefined)
    peer.write(frame(TYPE.data, 0, 1, Buffer.alloc(13_000)))
    await peer.until(() => peer.find(TYPE.reset, 1) !== undefined)
    expect(resetCode(peer, 1)).toBe(NO_ERROR)
  })

  it.each([
    [['content-length', '']],
    [['content-length', '-1']],
    [['content-length', '+1']],
    [['content-length', '0x1']],
    [['content-length', '1,1']],
    [
      ['content-length', '1'],
      ['content-length', '2'],
    ],
    [['content-length', '1'.repeat(16)]],
  ] as readonly (readonly HeaderList[number][])[])('is malformed with %j', (...fields) => {
    expect(readRequestHead(post('POST', ...fields)).kind).toBe('malformed')
    expect(readRequestHead([[':method', 'CONNECT'], [':authority', 'h:1'], ...fields]).kind).toBe('malformed')
  })
})

describe('a CONNECT with a content-length', () => {
  it('is a tunnel all the same: it has no body that could be as long', () => {
    const read = readRequestHead([
      [':method', 'CONNECT'],
      [':authority', '10.0.0.1:80'],
      ['content-length', '4'],
    ])
    expect(read.kind).toBe('connect')
  })
})
