/** `host:port` of a CONNECT authority: what may be dialled, and what HTTP/2 stacks let through to us. */
import { formatHostPort, parseHostPort, readHostPort } from '@ambient/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

describe('readHostPort', () => {
  it.each([
    ['10.0.0.1:80', { host: '10.0.0.1', port: 80, kind: 'ip' }],
    ['10.0.0.1:1', { host: '10.0.0.1', port: 1, kind: 'ip' }],
    ['10.0.0.1:65535', { host: '10.0.0.1', port: 65535, kind: 'ip' }],
    ['[::1]:80', { host: '::1', port: 80, kind: 'ip' }],
    ['[2001:DB8::0:1]:443', { host: '2001:db8::1', port: 443, kind: 'ip' }],
    ['[::ffff:127.0.0.1]:80', { host: '127.0.0.1', port: 80, kind: 'ip' }],
    ['reviews:9080', { host: 'reviews', port: 9080, kind: 'name' }],
    [
      'Reviews.Shop.svc.cluster.local:9080',
      { host: 'reviews.shop.svc.cluster.local', port: 9080, kind: 'name' },
    ],
    ['_http._tcp.web:80', { host: '_http._tcp.web', port: 80, kind: 'name' }],
    ['xn--bcher-kva.example:80', { host: 'xn--bcher-kva.example', port: 80, kind: 'name' }],
    ['1password.com:443', { host: '1password.com', port: 443, kind: 'name' }],
    [`${'a'.repeat(63)}.b:80`, { host: `${'a'.repeat(63)}.b`, port: 80, kind: 'name' }],
  ])('takes %s', (text, value) => expect(readHostPort(text)).toEqual({ ok: true, value }))

  it.each([
    ['', 'port is missing'],
    ['example.com', 'port is missing'],
    ['10.0.0.1', 'port is missing'],
    ['example.com:', 'port must be'],
    ['example.com:0', 'port must be'],
    ['example.com:65536', 'port must be'],
    ['example.com:99999', 'port must be'],
    ['example.com:100000', 'port must be'],
    ['example.com:+80', 'port must be'],
    ['example.com:-80', 'port must be'],
    ['example.com:080', 'port must be'],
    ['example.com:0x50', 'port must be'],
    ['example.com:8e1', 'port must be'],
    ['example.com:80 ', 'port must be'],
    ['example.com: 80', 'port must be'],
    ['example.com:８０', 'port must be'],
    ['example.com:http', 'port must be'],
    ['example.com:80/path', 'port must be'],
    [':80', 'host is missing'],
    ['example.com%3a80:80', 'neither'],
    ['example.com%3a80', 'port is missing'],
    ['010.0.0.1:80', 'malformed IPv4'],
    ['167772161:80', 'malformed IPv4'],
    ['2130706433:80', 'malformed IPv4'],
    ['127.1:80', 'malformed IPv4'],
    ['0x7f.1:80', 'malformed IPv4'],
    ['0x7f.0.0.0x1:80', 'malformed IPv4'],
    ['0177.0.0.1:80', 'malformed IPv4'],
    ['10.0.0.256:80', 'malformed IPv4'],
    ['1.2.3.4.5:80', 'malformed IPv4'],
    ['0x7f000001:80', 'malformed IPv4'],
    ['example.0x:80', 'malformed IPv4'],
    ['[fe80::1%25eth0]:80', 'brackets must hold'],
    ['[fe80::1%eth0]:80', 'brackets must hold'],
    ['[127.0.0.1]:80', 'brackets must hold'],
    ['[example.com]:80', 'brackets must hold'],
    ['[]:80', 'brackets must hold'],
    ['[::1:80', 'brackets must hold'],
    ['[::1]x:80', 'brackets must hold'],
    ['[[::1]]:80', 'brackets must hold'],
    ['::1:80', 'must be in brackets'],
    ['2001:db8::1:80', 'must be in brackets'],
    ['a:b:80', 'must be in brackets'],
    ['example.com.:80', 'neither'],
    ['.example.com:80', 'neither'],
    ['example..com:80', 'neither'],
    ['.:80', 'neither'],
    ['-a.example:80', 'neither'],
    ['a-.example:80', 'neither'],
    [`${'a'.repeat(64)}.b:80`, 'neither'],
    [`${'a.'.repeat(127)}b:80`, 'longer than 253'],
    ['user@example.com:80', 'neither'],
    ['user:pw@example.com:80', 'must be in brackets'],
    ['exa mple.com:80', 'neither'],
    ['example.com\t:80', 'neither'],
    ['example.com\0:80', 'neither'],
    ['example.com\r\n:80', 'neither'],
    ['example.com/x:80', 'neither'],
    ['exämple.com:80', 'neither'],
    ['\u0130stanbul:80', 'neither'],
    ['\u212aelvin:80', 'neither'],
    ['*:80', 'neither'],
    ['*.example.com:80', 'neither'],
    ['http://example.com:80', 'must be in brackets'],
  ])('refuses %j: %s', (text, reason) => {
    const result = readHostPort(text)
    expect(result.ok ? `taken as ${result.value.host}` : result.reason).toContain(reason)
  })

  it('never throws, and never lets through what it would not read again the same way', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.string({ unit: fc.constantFrom(...'a0.:[]-_%xF8'), maxLength: 24 }),
    )
    fc.assert(
      fc.property(text, candidate => {
        const result = readHostPort(candidate)
        if (!result.ok) return
        const { host, port } = result.value
        expect(readHostPort(formatHostPort(host, port))).toEqual(result)
        expect(host).toMatch(/^[a-z0-9._:-]+$/)
      }),
      { numRuns: 3000 },
    )
  })
})

describe('parseHostPort', () => {
  it('throws a coded error that names the input and the rule', () => {
    expect(() => parseHostPort('example.com:0')).toThrow(
      expect.objectContaining({
        code: 'AMBIENT_E_HOST_PORT',
        message: 'invalid host:port "example.com:0": port must be a decimal number from 1 to 65535',
      }),
    )
  })
})

describe('formatHostPort', () => {
  it.each([
    ['10.0.0.1', 80, '10.0.0.1:80'],
    ['::1', 80, '[::1]:80'],
    ['name', 1, 'name:1'],
  ])('%s %i', (host, port, text) => expect(formatHostPort(host, port)).toBe(text))
})
