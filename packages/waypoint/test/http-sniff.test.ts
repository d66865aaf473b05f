/** The first bytes decide: HTTP/1, HTTP/2, or something else that is handed back as it came. */
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { sniff, sniffVersion } from '../src/http/sniff.ts'
import { type Fixture, rawExchange, startFixture } from './http-fixture.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

describe('sniff', () => {
  it.each([
    ['GET / HTTP/1.1\r\n', 'http1'],
    ['GET / HTTP/1.0\n', 'http1'],
    ['PROPFIND /a?b=c HTTP/1.1\r\nhost: a', 'http1'],
    ['M-SEARCH * HTTP/1.1\r\n', 'http1'],
    [preface, 'http2'],
    [`${preface}\0\0\0`, 'http2'],
    ['SSH-2.0-OpenSSH_9.6\r\n', 'tcp'],
    ['EHLO mail\r\n', 'tcp'],
    ['PING\r\n', 'tcp'],
    ['GET key\r\n', 'tcp'],
    ['get / HTTP/1.1\r\n', 'tcp'],
    ['GET / HTTP/2.0\r\n', 'tcp'],
    ['GET / a HTTP/1.1\r\n', 'tcp'],
    ['GET /\x01', 'tcp'],
    ['\x16\x03\x01', 'tcp'],
    ['*3\r\n$3\r\n', 'tcp'],
    ['\0', 'tcp'],
    ['PRI * HTTP/1.1', 'tcp'],
    [`GET /${'x'.repeat(20_000)}`, 'tcp'],
    ['', undefined],
    ['P', undefined],
    ['POS', undefined],
    ['GET', undefined],
    ['GET /path HTTP/1.', undefined],
    ['PRI * HT', undefined],
  ])('%j is %s', (text, kind) => expect(sniff(Buffer.from(text, 'latin1'))).toBe(kind))

  it('where HTTP is declared, only its version is asked', () => {
    expect(sniffVersion(Buffer.from('SSH'))).toBe('http1')
    expect(sniffVersion(Buffer.from('PRI'))).toBeUndefined()
    expect(sniffVersion(Buffer.from(preface))).toBe('http2')
  })
})

describe('a port that does not say what it speaks', () => {
  it('HTTP byte by byte is HTTP', async () => {
    fixture = await startFixture()
    const socket = connect(fixture.port, '127.0.0.1')
    socket.setNoDelay(true)
    for (const byte of 'GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
      await new Promise(resolve => socket.write(byte, resolve))
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    expect(text).toMatch(/^HTTP\/1.1 200/)
    expect(fixture.orders[0]?.request.path).toBe('/x')
  })

  it('anything else is handed back whole, and the socket with it', async () => {
    const got = new Promise<Duplex>(resolve => {
      void startFixture({ onTcp: resolve }).then(started => {
        fixture = started
        const socket = connect(started.port, '127.0.0.1')
        socket.on('error', () => {})
        socket.end('EHLO mail.example\r\nand more')
      })
    })
    const socket = await got
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    // Ours is the other direction; not every Node takes reading to the end for having done with it.
    socket.destroy()
    expect(text).toBe('EHLO mail.example\r\nand more')
    expect(fixture?.ledger).toEqual([])
  })

  it('also when it ends before it can be told', async () => {
    let seen = ''
    fixture = await startFixture({
      onTcp: socket => {
        socket.on('data', chunk => {
          seen += String(chunk)
        })
        socket.on('end', () => socket.end(`got ${seen}`))
      },
    })
    expect(await rawExchange(fixture.port, 'GE', true)).toBe('got GE')
    expect(await rawExchange(fixture.port, '', true)).toContain('got')
  })

  it('a declared TCP port is not read at all', async () => {
    fixture = await startFixture({ protocol: 'TCP', onTcp: socket => socket.resume().end('220 ready\r\n') })
    const socket = connect(fixture.port, '127.0.0.1')
    const [first] = await once(socket, 'data')
    expect(String(first)).toBe('220 ready\r\n')
    socket.destroy()
  })

  it('a caller that goes before it has said anything leaves nothing behind', async () => {
    fixture = await startFixture()
    const socket = connect(fixture.port, '127.0.0.1')
    await once(socket, 'connect')
    socket.resetAndDestroy()
    await expect.poll(() => fixture?.served.length).toBe(1)
    expect(await fixture.served[0]).toEqual({ kind: 'http' })
  })
})
