/** PROXY protocol version 2, byte by byte. */
import { describe, expect, it } from 'vitest'
import { formatProxyHeader, parseProxyHeader } from '../src/proxy-protocol.ts'

const SIGNATURE = '0d0a0d0a000d0a515549540a'
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const v4 = {
  source: { address: '10.0.0.1', port: 40_000 },
  destination: { address: '10.0.0.2', port: 8080 },
}
const v4Bytes = hex(`${SIGNATURE} 21 11 000c 0a000001 0a000002 9c40 1f90`)

describe('written', () => {
  it('for IPv4 and IPv6', () => {
    expect(formatProxyHeader(v4)).toEqual(v4Bytes)
    const header = formatProxyHeader({
      source: { address: '::1', port: 1 },
      destination: { address: 'fd00::2', port: 2 },
    })
    expect(header.subarray(12, 16)).toEqual(hex('21 21 0024'))
    expect(header.length).toBe(16 + 36)
  })

  it('with the identity of the source as TLV 0xD0', () => {
    const header = formatProxyHeader({ ...v4, sourceIdentity: 'spiffe://a/b' })
    expect(header.subarray(28)).toEqual(Buffer.concat([hex('d0 000c'), Buffer.from('spiffe://a/b')]))
    expect(header.readUInt16BE(14)).toBe(12 + 3 + 12)
  })

  it('without addresses when the families differ', () => {
    const header = formatProxyHeader({ ...v4, destination: { address: '::1', port: 80 } })
    expect(header).toEqual(hex(`${SIGNATURE} 21 01 0000`))
  })
})

describe('read', () => {
  it('only when whole, and not past its end', () => {
    for (let cut = 0; cut < v4Bytes.length; cut++)
      expect(parseProxyHeader(v4Bytes.subarray(0, cut))).toEqual({ kind: 'more' })
    expect(parseProxyHeader(Buffer.concat([v4Bytes, Buffer.from('GET /')]))).toEqual({
      kind: 'done',
      value: v4,
      length: v4Bytes.length,
    })
  })

  it('round-trips, identity included', () => {
    const header = { ...v4, sourceIdentity: 'spiffe://cluster.local/ns/a/sa/b' }
    expect(parseProxyHeader(formatProxyHeader(header))).toMatchObject({ value: header })
  })

  it.each([
    ['application bytes', Buffer.from('GET / HTTP/1.1\r\n')],
    ['one wrong byte of the signature', hex('0d0a0d0a000d0b')],
    ['version 1', hex(`${SIGNATURE} 11 11 000c`)],
    ['LOCAL', hex(`${SIGNATURE} 20 11 000c`)],
    ['UNSPEC', hex(`${SIGNATURE} 21 01 0000`)],
    ['UDP', hex(`${SIGNATURE} 21 12 000c`)],
    ['a length without room for the addresses', hex(`${SIGNATURE} 21 11 000b`)],
    ['a length beyond reason', hex(`${SIGNATURE} 21 11 ffff`)],
    ['a TLV past the end', hex(`${SIGNATURE} 21 11 000f 0a000001 0a000002 9c40 1f90 d0 0001`)],
  ])('refuses %s', (_, bytes) => {
    const parsed = parseProxyHeader(bytes)
    expect(parsed.kind).toBe('error')
    if (parsed.kind === 'error') expect(parsed.error.message).toMatch(/^PROXY protocol header refused: /)
  })
})
