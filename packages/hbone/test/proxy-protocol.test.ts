/** The PROXY protocol, both versions: what is written, what is read, and what is refused. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { listen } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import {
  formatProxyHeader,
  HboneError,
  parseProxyHeader,
  type ProxyHeader,
  type ProxyHeaderFields,
  readProxyHeader,
} from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { deferred, later } from './harness.ts'

const SIGNATURE = '0d0a0d0a000d0a515549540a'
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const v2 = (rest: string): Buffer => hex(SIGNATURE + rest)
const v4Ends = {
  source: { address: '10.0.0.1', port: 43_126 },
  destination: { address: '10.0.0.2', port: 80 },
}
const v4Hex = '0a000001 0a000002 a876 0050'

function read(bytes: Buffer, options?: { maxBytes?: number }): { value: ProxyHeader; length: number } {
  const parsed = parseProxyHeader(bytes, options)
  if (parsed.kind !== 'done') throw new Error(`expected a header, got ${JSON.stringify(parsed)}`)
  return parsed
}

function reasonOf(bytes: Buffer, options?: { maxBytes?: number }): string {
  const parsed = parseProxyHeader(bytes, options)
  if (parsed.kind !== 'error') throw new Error(`expected a refusal, got ${JSON.stringify(parsed)}`)
  expect(parsed.error).toBeInstanceOf(HboneError)
  expect(parsed.error.code).toBe('AMBIENT_E_PROXY_PROTOCOL')
  return parsed.error.message.replace('PROXY protocol header refused: ', '')
}

describe('writing', () => {
  it('is byte for byte what ztunnel writes', () => {
    expect(formatProxyHeader({ addresses: v4Ends })).toEqual(v2(`21 11 000c ${v4Hex}`))
    expect(formatProxyHeader({ addresses: v4Ends, sourceIdentity: 'spiffe://a/b' })).toEqual(
      v2(`21 11 001b ${v4Hex} d0 000c ${Buffer.from('spiffe://a/b').toString('hex')}`),
    )
    const mixed = { ...v4Ends, destination: { address: '::1', port: 80 } }
    expect(formatProxyHeader({ addresses: mixed })).toEqual(v2('21 01 0000'))
    const v6 = { source: { address: '2001:db8::1', port: 1 }, destination: { address: '::1', port: 2 } }
    expect(formatProxyHeader({ addresses: v6 })).toEqual(
      v2(`21 21 0024 20010db8000000000000000000000001 00000000000000000000000000000001 0001 0002`),
    )
  })

  it('has LOCAL, UDP, TLVs and a checksum', () => {
    expect(formatProxyHeader({})).toEqual(v2('20 00 0000'))
    expect(formatProxyHeader({ addresses: { ...v4Ends, transport: 'udp' } })[13]).toBe(0x12)
    const header = formatProxyHeader({
      addresses: v4Ends,
      tlvs: [{ type: 0xea, value: Buffer.from('vpc') }],
      checksum: true,
    })
    // Computed independently, bit by bit.
    expect(header.subarray(-4)).toEqual(
      bitwiseCrc32c(Buffer.concat([header.subarray(0, -4), Buffer.alloc(4)])),
    )
  })

  it('has version 1', () => {
    expect(String(formatProxyHeader({ version: 1, addresses: v4Ends }))).toBe(
      'PROXY TCP4 10.0.0.1 10.0.0.2 43126 80\r\n',
    )
    const v6 = { source: { address: '::1', port: 1 }, destination: { address: '2001:DB8::2', port: 65_535 } }
    expect(String(formatProxyHeader({ version: 1, addresses: v6 }))).toBe(
      'PROXY TCP6 ::1 2001:db8::2 1 65535\r\n',
    )
    const mixed = { ...v4Ends, destination: { address: '::1', port: 80 } }
    expect(String(formatProxyHeader({ version: 1, addresses: mixed }))).toBe('PROXY UNKNOWN\r\n')
    expect(String(formatProxyHeader({ version: 1 }))).toBe('PROXY UNKNOWN\r\n')
  })

  it.each<[string, ProxyHeaderFields]>([
    ['an identity in version 1', { version: 1, addresses: v4Ends, sourceIdentity: 'spiffe://a/b' }],
    ['a name for an address', { addresses: { ...v4Ends, source: { address: 'web', port: 1 } } }],
    ['a port that is none', { addresses: { ...v4Ends, source: { address: '10.0.0.1', port: 65_536 } } }],
    ['a type that is no byte', { tlvs: [{ type: 256, value: Buffer.alloc(0) }] }],
    ['what does not fit', { tlvs: [{ type: 1, value: Buffer.alloc(65_535) }] }],
  ])('refuses %s', (_, fields) => {
    expect(() => formatProxyHeader(fields)).toThrow(
      expect.objectContaining({ code: 'AMBIENT_E_HBONE_OPTION' }),
    )
  })
})

describe('reading', () => {
  it.each<[string, ProxyHeaderFields]>([
    ['IPv4', { addresses: { ...v4Ends, transport: 'tcp' } }],
    ['UDP', { addresses: { ...v4Ends, transport: 'udp' } }],
    ['an identity', { addresses: { ...v4Ends, transport: 'tcp' }, sourceIdentity: 'spiffe://td/ns/a/sa/b' }],
    ['version 1', { version: 1, addresses: { ...v4Ends, transport: 'tcp' } }],
  ])('gives back what was written: %s', (_, fields) => {
    const bytes = formatProxyHeader(fields)
    const { value, length } = read(Buffer.concat([bytes, Buffer.from('GET /')]))
    expect(length).toBe(bytes.length)
    expect(value).toMatchObject({ version: 2, command: 'proxy', ...fields })
  })

  it('waits for every byte', () => {
    for (const fields of [
      { addresses: v4Ends, checksum: true },
      { version: 1 as const, addresses: v4Ends },
    ]) {
      const bytes = formatProxyHeader(fields)
      for (let cut = 0; cut < bytes.length; cut++)
        expect(parseProxyHeader(bytes.subarray(0, cut))).toEqual({ kind: 'more' })
      expect(parseProxyHeader(bytes).kind).toBe('done')
    }
  })

  it('keeps TLVs that nobody knows, in their order', () => {
    const tlvs = [
      { type: 0x04, value: Uint8Array.of() },
      { type: 0xea, value: Uint8Array.of(1, 2, 3) },
      { type: 0xea, value: Uint8Array.of(4) },
    ]
    expect(read(formatProxyHeader({ addresses: v4Ends, tlvs })).value.tlvs).toEqual(tlvs)
  })

  it.each([
    ['LOCAL', v2('20 00 0000'), 'local'],
    ['LOCAL with addresses', v2(`20 11 000c ${v4Hex}`), 'local'],
    ['LOCAL with whatever', v2('20 ff 0002 0102'), 'local'],
    ['UNSPEC', v2('21 00 0000'), 'proxy'],
    ['UNSPEC over TCP, as ztunnel has it', v2('21 01 0000'), 'proxy'],
    ['Unix sockets', v2(`21 31 00d8 ${'00'.repeat(216)}`), 'proxy'],
    ['version 1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), 'proxy'],
    ['version 1 UNKNOWN with more', Buffer.from('PROXY UNKNOWN ffff:f...f:ffff 65535 x\r\n'), 'proxy'],
  ])('names no addresses for %s', (_, bytes, command) => {
    const { value, length } = read(bytes)
    expect(value).toMatchObject({ command, addresses: undefined, sourceIdentity: undefined })
    expect(length).toBe(bytes.length)
  })

  it('takes an identity behind UNSPEC', () => {
    const bytes = v2('21 01 0006 d0 0003 616263')
    expect(read(bytes).value).toMatchObject({ addresses: undefined, sourceIdentity: 'abc' })
  })

  it('checks a checksum wherever it stands', () => {
    const bytes = formatProxyHeader({
      addresses: v4Ends,
      tlvs: [{ type: 5, value: Buffer.from('id') }],
      checksum: true,
    })
    expect(read(bytes).value.tlvs.map(tlv => tlv.type)).toEqual([5, 3])
    // All but the type of the checksum itself, without which there is none.
    for (let at = 16; at < bytes.length; at++) {
      if (at === bytes.length - 7) continue
      const forged = Buffer.from(bytes)
      forged[at] = (forged[at] ?? 0) ^ 1
      expect(parseProxyHeader(forged).kind).toBe('error')
    }
  })
})

describe('a header is refused', () => {
  it.each([
    ['when there is none', Buffer.from('GET / HTTP/1.1\r\n'), 'the connection does not begin with one'],
    ['at the first wrong byte', Buffer.from([0x16]), 'the connection does not begin with one'],
    ['of another version', v2('31 11 000c'), 'version and command 0x31 are neither 2, PROXY nor 2, LOCAL'],
    ['of another command', v2('22 11 000c'), 'version and command 0x22 are neither 2, PROXY nor 2, LOCAL'],
    ['of a family unknown', v2('21 41 0000'), 'family and transport 0x41 are unknown'],
    ['of a transport unknown', v2(`21 13 000c ${v4Hex}`), 'family and transport 0x13 are unknown'],
    [
      'with less than its addresses',
      v2('21 11 000b 0a000001 0a000002 a87600'),
      'too short for its addresses',
    ],
    ['with IPv4 in the place of IPv6', v2(`21 21 000c ${v4Hex}`), 'too short for its addresses'],
    ['with a TLV past its end', v2(`21 11 0010 ${v4Hex} ea 0002 01`), 'a TLV runs past the end'],
    ['with half a TLV', v2(`21 11 000e ${v4Hex} ea00`), 'a TLV runs past the end'],
    ['with a checksum of 3 bytes', v2(`21 11 0012 ${v4Hex} 03 0003 010203`), 'a checksum of 3 bytes'],
    ['with two identities', v2('21 01 0008 d0 0001 61 d0 0001 62'), 'TLV 0xd0 twice'],
    [
      'with an identity that is no text',
      v2('21 01 0004 d0 0001 ff'),
      'the identity of the source is not UTF-8',
    ],
    ['of 64 KiB', v2('21 11 ffff'), 'longer than 4096 bytes (proxyHeaderBytes)'],
    ['of 64 KiB and LOCAL', v2('20 00 ffff'), 'longer than 4096 bytes (proxyHeaderBytes)'],
    [
      'with a line without end',
      Buffer.from(`PROXY UNKNOWN ${'x'.repeat(93)}`),
      'its line is longer than 107 bytes',
    ],
    [
      'in a line of CR only',
      Buffer.from(`PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r${'x'.repeat(90)}`),
      'its line is longer than 107 bytes',
    ],
    ['of UDP in version 1', Buffer.from('PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n'), 'its line cannot be read'],
    ['with two spaces', Buffer.from('PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n'), 'its line cannot be read'],
    ['with IPv6 as TCP4', Buffer.from('PROXY TCP4 ::1 ::2 1 2\r\n'), 'its line cannot be read'],
    ['with IPv4 as TCP6', Buffer.from('PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n'), 'its line cannot be read'],
    ['with octal parts', Buffer.from('PROXY TCP4 010.0.0.1 2.2.2.2 1 2\r\n'), 'its line cannot be read'],
    ['with a port of zeros', Buffer.from('PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n'), 'its line cannot be read'],
    [
      'with a port too high',
      Buffer.from('PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n'),
      'its line cannot be read',
    ],
    ['without ports', Buffer.from('PROXY TCP4 1.1.1.1 2.2.2.2\r\n'), 'its line cannot be read'],
  ])('%s', (_, bytes, reason) => {
    expect(reasonOf(bytes)).toBe(reason)
  })

  it('at once, when its length says that it would be too long', () => {
    const head = formatProxyHeader({ addresses: v4Ends }).subarray(0, 16)
    expect(reasonOf(head, { maxBytes: 27 })).toBe('longer than 27 bytes (proxyHeaderBytes)')
    expect(parseProxyHeader(head, { maxBytes: 28 })).toEqual({ kind: 'more' })
  })
})

describe('a connection', () => {
  it('is handed on with what follows the header', async () => {
    const [client, server] = await socketPair()
    const header = readProxyHeader(server)
    const bytes = Buffer.concat([formatProxyHeader({ addresses: v4Ends }), Buffer.from('hello')])
    for (const byte of bytes) client.write(Buffer.of(byte))
    expect((await header).addresses).toMatchObject(v4Ends)
    client.end(' world')
    expect(server.isPaused()).toBe(true)
    const rest: Buffer[] = []
    for await (const chunk of server) rest.push(chunk)
    expect(String(Buffer.concat(rest))).toBe('hello world')
  })

  it('has so much time and so many bytes', async () => {
    const clock = createManualClock()
    const [silent, waiting] = await socketPair()
    const late = readProxyHeader(waiting, { clock })
    silent.write('PROXY ')
    clock.advance(5_000)
    await expect(late).rejects.toThrow('none within 5000 ms (proxyHeaderMs)')

    const [attacker, server] = await socketPair()
    const refused = readProxyHeader(server, { maxBytes: 64 })
    attacker.write(formatProxyHeader({ addresses: v4Ends, tlvs: [{ type: 4, value: Buffer.alloc(60) }] }))
    await expect(refused).rejects.toThrow('longer than 64 bytes (proxyHeaderBytes)')
    expect(server.listenerCount('data')).toBe(0)
  })

  it('that ends first brings none', async () => {
    const [client, server] = await socketPair()
    const header = readProxyHeader(server)
    client.end('PROXY TCP4')
    await expect(header).rejects.toThrow('the peer left before it sent one')
  })
})

async function socketPair(): Promise<[Socket, Socket]> {
  const accepted = deferred<Socket>()
  const port = await listen({ host: '127.0.0.1', port: 0, onConnection: accepted.resolve })
  const client = connect({ host: '127.0.0.1', port: port.port })
  await once(client, 'connect')
  const server = await accepted.promise
  for (const socket of [client, server]) socket.on('error', () => {})
  later(async () => {
    client.destroy()
    server.destroy()
    await port.close()
  })
  return [client, server]
}

function bitwiseCrc32c(bytes: Buffer): Buffer {
  let crc = 0xffff_ffff
  for (const byte of bytes)
    for (let bit = 0; bit < 8; bit++) {
      const isSet = ((crc ^ (byte >> bit)) & 1) === 1
      crc = (crc >>> 1) ^ (isSet ? 0x82f6_3b78 : 0)
    }
  const out = Buffer.alloc(4)
  out.writeUInt32BE((crc ^ 0xffff_ffff) >>> 0)
  return out
}
