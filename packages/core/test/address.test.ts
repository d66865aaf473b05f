/** IP literals and blocks: one canonical text per address, nothing that resolvers read differently. */
import { isIP } from 'node:net'
import {
  canonicalIp,
  cidrContains,
  formatCidr,
  ipFromBytes,
  ipToBytes,
  isLoopback,
  parseCidr,
} from '@ambient/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

describe('canonicalIp', () => {
  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['FE80::A', 'fe80::a'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
    ['::ffff:127.0.0.1', '127.0.0.1'],
    ['::FFFF:7f00:1', '127.0.0.1'],
    ['::1.2.3.4', '::102:304'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
  ])('%s is %s', (text, canonical) => expect(canonicalIp(text)).toBe(canonical))

  it.each([
    '',
    ' 10.0.0.1',
    '10.0.0.1 ',
    '010.0.0.1',
    '10.0.0.01',
    '10.0.0',
    '127.1',
    '10.0.0.1.2',
    '10.0.0.256',
    '10.0.0.-1',
    '10.0.0.1e1',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '167772161',
    '2130706433',
    '10.0.0.1\n',
    '١.0.0.1',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2:3:4:5:6:7:8',
    ':1:2:3:4:5:6:7:8',
    '12345::',
    'g::',
    'fe80::1%eth0',
    'fe80::1%25eth0',
    '[::1]',
    '::ffff:127.0.0.01',
    '::ffff:127.0.0',
    '127.0.0.1::',
    '::127.0.0.1:1',
    'localhost',
  ])('%j is no address', text => expect(canonicalIp(text)).toBeUndefined())

  it('agrees with the platform about what is an address', () => {
    const text = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.string({ unit: fc.constantFrom(...'0125afF:.'), maxLength: 24 }),
    )
    fc.assert(
      fc.property(text, candidate => {
        expect(canonicalIp(candidate) !== undefined).toBe(isIP(candidate) !== 0)
      }),
      { numRuns: 3000 },
    )
  })

  it('is stable, and its bytes come back', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), candidate => {
        const canonical = canonicalIp(candidate)
        expect(canonical).toBeDefined()
        expect(canonicalIp(canonical ?? '')).toBe(canonical)
        const bytes = ipToBytes(candidate)
        expect(bytes && ipFromBytes(bytes)).toBe(canonical)
      }),
      { numRuns: 500 },
    )
  })

  it('writes IPv6 as the URL standard does', () => {
    fc.assert(
      fc.property(fc.ipV6(), candidate => {
        const canonical = canonicalIp(candidate) ?? ''
        if (!canonical.includes(':')) return
        expect(`[${canonical}]`).toBe(new URL(`http://[${candidate}]/`).hostname)
      }),
      { numRuns: 500 },
    )
  })
})

describe('ipFromBytes', () => {
  it('reads 4 and 16 bytes, and nothing else', () => {
    expect(ipFromBytes(Uint8Array.of(127, 0, 0, 1))).toBe('127.0.0.1')
    expect(ipFromBytes(new Uint8Array(16))).toBe('::')
    for (const length of [0, 3, 5, 15, 17]) expect(ipFromBytes(new Uint8Array(length))).toBeUndefined()
  })
})

describe('isLoopback', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.44.10.3', true],
    ['::1', true],
    ['128.0.0.1', false],
    ['12.7.0.0', false],
    ['::2', false],
  ])('%s: %s', (ip, expected) => expect(isLoopback(ip)).toBe(expected))
})

describe('CIDR blocks', () => {
  it.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.1.2.3/8', '10.1.2.3/8'],
    ['10.0.0.1', '10.0.0.1/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
    ['2001:DB8::/32', '2001:db8::/32'],
    ['::1', '::1/128'],
    ['::ffff:10.0.0.0/8', '10.0.0.0/8'],
  ])('%s reads as %s', (text, formatted) => expect(formatCidr(parseCidr(text))).toBe(formatted))

  it.each([
    '',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/ 8',
    '10.0.0/8',
    '::/129',
    'name/8',
  ])('%j is refused, by name', text => {
    expect(() => parseCidr(text)).toThrow(
      expect.objectContaining({
        code: 'AMBIENT_E_CIDR',
        message: expect.stringContaining(JSON.stringify(text)),
      }),
    )
  })

  it.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.1.2.3/8', '10.9.9.9', true],
    ['192.168.4.0/22', '192.168.7.255', true],
    ['192.168.4.0/22', '192.168.8.0', false],
    ['10.0.0.1/32', '10.0.0.1', true],
    ['10.0.0.1/32', '10.0.0.2', false],
    ['0.0.0.0/0', '203.0.113.9', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '10.0.0.1', false],
    ['::/0', '2001:db8::1', true],
    ['2001:db8::/33', '2001:db8:7fff::', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['10.0.0.0/8', '::ffff:10.0.0.1', true],
  ])('%s holds %s: %s', (block, ip, expected) => {
    const bytes = ipToBytes(ip)
    expect(bytes && cidrContains(parseCidr(block), bytes)).toBe(expected)
  })
})
