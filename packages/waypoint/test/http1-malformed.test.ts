/** Bytes that two readers could understand differently, or that are no request at all. */
import { afterEach, describe, expect, it } from 'vitest'
import { type Fixture, rawExchange, startFixture } from './http-fixture.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

const big = 'x'.repeat(62_000)
const many = Array.from({ length: 100 }, (_, index) => `x-${index}: 1`).join('\r\n')

/** Name, bytes, status. */
const vectors: readonly (readonly [name: string, bytes: string, status: number])[] = [
  ['no request line', 'hello\r\n\r\n', 400],
  [
    'dots that a parameter hides from normalization',
    'GET /a/%2e%2e;x/b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
    400,
  ],
  [
    'dots that a backslash and a parameter hide',
    'GET /a\\..;/b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
    400,
  ],
  [
    'Content-Length and Transfer-Encoding',
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  [
    'Transfer-Encoding and Content-Length',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n',
    400,
  ],
  [
    'two different Content-Length',
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello',
    400,
  ],
  [
    'two equal Content-Length',
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello',
    400,
  ],
  ['a list as Content-Length', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nhello', 400],
  ['a sign in Content-Length', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello', 400],
  ['hexadecimal Content-Length', 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello', 400],
  [
    'an endless Content-Length',
    `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${'9'.repeat(30)}\r\n\r\nhello`,
    400,
  ],
  [
    'chunked is not last',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n',
    400,
  ],
  [
    'another coding before chunked',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    501,
  ],
  [
    'chunked twice',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  [
    'a coding that is not chunked',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\nhello',
    400,
  ],
  [
    'chunked with a vertical tab',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  ['a blank before the colon', 'GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n', 400],
  ['a folded field', 'GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n 2\r\n\r\n', 400],
  [
    'a folded Transfer-Encoding',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n',
    400,
  ],
  ['a field without a name', 'GET / HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n', 400],
  ['a blank first field line', 'GET / HTTP/1.1\r\n host: a\r\n\r\n', 400],
  ['bare LF after a field', 'GET / HTTP/1.1\r\nhost: a\nx-a: 1\r\n\r\n', 400],
  ['bare CR in a field', 'GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\rx-b: 2\r\n\r\n', 400],
  ['NUL in a field', 'GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\x002\r\n\r\n', 400],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['two Hosts', 'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n', 400],
  ['a Host with a path', 'GET / HTTP/1.1\r\nhost: a/b\r\n\r\n', 400],
  ['a Host with a user', 'GET / HTTP/1.1\r\nhost: a@b\r\n\r\n', 400],
  ['a target without slash', 'GET foo HTTP/1.1\r\nhost: a\r\n\r\n', 400],
  ['a fragment in the target', 'GET /a#b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
  ['an encoded NUL in the target', 'GET /a%00b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
  ['an unknown method', 'FOO / HTTP/1.1\r\nhost: a\r\n\r\n', 400],
  ['an unknown version', 'GET / HTTP/1.2\r\nhost: a\r\n\r\n', 400],
  ['HTTP/1.0', 'GET / HTTP/1.0\r\nhost: a\r\n\r\n', 426],
  ['HTTP/0.9', 'GET /\r\n\r\n', 426],
  [
    'a nominated X-Forwarded-For',
    'GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.2.3.4\r\nconnection: close, x-forwarded-for\r\n\r\n',
    400,
  ],
  [
    'a nominated Content-Length',
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\nconnection: close, content-length\r\n\r\n1',
    400,
  ],
  ['fields of 62,000 bytes', `GET / HTTP/1.1\r\nhost: a\r\nx-a: ${big}\r\n\r\n`, 431],
  ['a target of 62,000 bytes', `GET /${big} HTTP/1.1\r\nhost: a\r\n\r\n`, 431],
  ['101 fields', `GET / HTTP/1.1\r\nhost: a\r\n${many}\r\nconnection: close\r\n\r\n`, 431],
  ['CONNECT', 'CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n', 404],
  [
    'an upgrade that is not WebSocket',
    'GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n',
    403,
  ],
  ['a target with a user', 'GET http://x@admin/p HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
  ['a target with two hosts', 'GET http://a,b/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
  ['a target without a host', 'GET http:///p HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
  ['a target with a backslash', 'GET http://a\\b/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
  ['another scheme', 'GET ftp://a/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400],
  [
    'an upgrade with a length',
    'GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 20\r\n\r\n',
    400,
  ],
  [
    'an upgrade with chunks',
    'GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n\r\n',
    400,
  ],
]

describe('is refused', () => {
  it.each(vectors)(
    '%s',
    async (_name, bytes, status) => {
      fixture = await startFixture({ protocol: 'HTTP11' })
      const text = await rawExchange(fixture.port, bytes)
      expect(text.slice(0, 12)).toBe(`HTTP/1.1 ${status}`)
      expect(text).toContain('\r\nserver: istio-envoy\r\n')
      expect(fixture.orders).toEqual([])
      await fixture.recorded(1)
      expect(fixture.ledger.map(entry => entry.outcome?.status)).toEqual([status])
    },
    3000,
  )
})
