/**
 * The PROXY protocol, versions 1 and 2: where a connection that somebody passed on came from and was going to. What such
 * a header says is the claim of whoever wrote it, never proof.
 */
import type { Duplex } from 'node:stream'
import { type Clock, ipFromBytes, ipToBytes } from '@ambient/core'
import { readFirstBytes } from '@ambient/core/node'
import { crc32c } from './crc32c.ts'
import { HboneError } from './errors.ts'
import { defaultLimits } from './limits.ts'
import type { SocketAddress } from './tunnel.ts'

/** One type-length-value field of version 2. */
export interface ProxyTlv {
  /** 0 to 255. */
  readonly type: number
  readonly value: Uint8Array
}

export interface ProxyAddresses {
  readonly transport: 'tcp' | 'udp'
  readonly source: SocketAddress
  readonly destination: SocketAddress
}

/** A header as it was read. */
export interface ProxyHeader {
  readonly version: 1 | 2
  /** `local`: the sender speaks for itself, a health check perhaps. */
  readonly command: 'proxy' | 'local'
  /** `undefined` when none are named (LOCAL, UNKNOWN, UNSPEC, Unix sockets): the connection's own ends count. */
  readonly addresses: ProxyAddresses | undefined
  /** Every field in its order, the known ones included. Empty in version 1. */
  readonly tlvs: readonly ProxyTlv[]
  /** Istio's TLV with the SPIFFE ID of the source, as text. */
  readonly sourceIdentity: string | undefined
}

/** A header to write. */
export interface ProxyHeaderFields {
  /** Default 2. Version 1 carries addresses of TCP and nothing else. */
  readonly version?: 1 | 2
  /** Families that differ give the form without addresses, as ztunnel writes it. Absent: LOCAL, in version 1 UNKNOWN. */
  readonly addresses?: Pick<ProxyAddresses, 'source' | 'destination'> & Partial<ProxyAddresses>
  readonly sourceIdentity?: string
  /** Beside the source's identity, and after it. */
  readonly tlvs?: readonly ProxyTlv[]
  /** Adds a checksum of the header. */
  readonly checksum?: boolean
}

/** What a parser says of the bytes so far. */
export type ParsedProxyHeader =
  | { readonly kind: 'more' }
  /** The first `length` bytes are the header. */
  | { readonly kind: 'done'; readonly value: ProxyHeader; readonly length: number }
  | { readonly kind: 'error'; readonly error: HboneError }

export interface ReadProxyHeaderOptions {
  /** Default `proxyHeaderMs`. */
  readonly timeoutMs?: number
  /** Default `proxyHeaderBytes`. */
  readonly maxBytes?: number
  readonly clock?: Clock
}

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const FIXED_BYTES = 16
const V1_START = Buffer.from('PROXY ', 'latin1')
/** With its CRLF; the specification's own bound. */
const V1_MAX_BYTES = 107
const TLV_HEAD_BYTES = 3
const CHECKSUM_BYTES = 4
/** Two paths of 108 bytes. */
const UNIX_BYTES = 216
const MAX_LENGTH = 0xffff

/** Types of TLVs that are looked at. */
const TLV = Object.freeze({ checksum: 0x03, sourceIdentity: 0xd0 })

/** Address family and transport of byte 14, and how long its two addresses are. */
const FORMS: ReadonlyMap<number, { readonly ipBytes: number; readonly transport: 'tcp' | 'udp' }> = new Map([
  [0x11, { ipBytes: 4, transport: 'tcp' }],
  [0x12, { ipBytes: 4, transport: 'udp' }],
  [0x21, { ipBytes: 16, transport: 'tcp' }],
  [0x22, { ipBytes: 16, transport: 'udp' }],
])

/**
 * The bytes of a header.
 * @throws HboneError `AMBIENT_E_HBONE_OPTION` for fields that the version or the format cannot carry.
 */
export function formatProxyHeader(fields: ProxyHeaderFields): Buffer {
  return fields.version === 1 ? formatVersion1(fields) : formatVersion2(fields)
}

/**
 * Reads a header of either version from the beginning of a connection's bytes. Give it all bytes so far each time.
 * TLVs that nobody knows are kept; a checksum is checked when there is one; a second identity or checksum is refused.
 */
export function parseProxyHeader(
  bytes: Uint8Array,
  options: { readonly maxBytes?: number } = {},
): ParsedProxyHeader {
  const { maxBytes = defaultLimits.proxyHeaderBytes } = options
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (beginsAs(buffer, V1_START)) return parseVersion1(buffer, maxBytes)
  if (beginsAs(buffer, SIGNATURE)) return parseVersion2(buffer, maxBytes)
  return refuse('the connection does not begin with one')
}

/**
 * Reads the header that a connection must begin with. What follows it goes back into the stream, which is left paused,
 * so that a channel or a server can take it as if nobody had read. The caller keeps the stream, whatever happens, and
 * must have an `error` listener on it.
 * @throws HboneError `AMBIENT_E_PROXY_PROTOCOL`
 */
export function readProxyHeader(stream: Duplex, options: ReadProxyHeaderOptions = {}): Promise<ProxyHeader> {
  const {
    timeoutMs = defaultLimits.proxyHeaderMs,
    clock,
    maxBytes = defaultLimits.proxyHeaderBytes,
  } = options
  return readFirstBytes(stream, {
    parse: bytes => parseProxyHeader(bytes, { maxBytes }),
    timeoutMs,
    timeoutError: () => refusal(`none within ${timeoutMs} ms (proxyHeaderMs)`),
    endError: () => refusal('the peer left before it sent one'),
    ...(clock === undefined ? {} : { clock }),
  })
}

// Version 1: one line of text.

function formatVersion1({ addresses, sourceIdentity, tlvs, checksum }: ProxyHeaderFields): Buffer {
  if (
    sourceIdentity !== undefined ||
    tlvs !== undefined ||
    checksum === true ||
    addresses?.transport === 'udp'
  )
    throw unwritable('version 1 carries addresses of TCP and nothing else')
  const ends = addresses === undefined ? undefined : sameFamily(addresses)
  if (ends === undefined || addresses === undefined) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1')
  const { source, destination } = addresses
  const family = ends.source.length === 4 ? 'TCP4' : 'TCP6'
  const [from, to] = [ipFromBytes(ends.source), ipFromBytes(ends.destination)]
  const ports = `${portOf(source)} ${portOf(destination)}`
  return Buffer.from(`PROXY ${family} ${from} ${to} ${ports}\r\n`, 'latin1')
}

function parseVersion1(bytes: Buffer, maxBytes: number): ParsedProxyHeader {
  const limit = Math.min(V1_MAX_BYTES, maxBytes)
  const end = bytes.subarray(0, limit).indexOf('\r\n')
  if (end < 0)
    return bytes.length < limit ? { kind: 'more' } : refuse(`its line is longer than ${limit} bytes`)
  const line = bytes.toString('latin1', 0, end)
  const done = (addresses: ProxyAddresses | undefined): ParsedProxyHeader => ({
    kind: 'done',
    length: end + 2,
    value: { version: 1, command: 'proxy', addresses, tlvs: [], sourceIdentity: undefined },
  })
  if (/^PROXY UNKNOWN(?: .*)?$/.test(line)) return done(undefined)
  const [, family, from = '', to = '', fromPort = '', toPort = ''] =
    /^PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d+) (\d+)$/.exec(line) ?? []
  const source = readEnd(from, fromPort, family)
  const destination = readEnd(to, toPort, family)
  if (source === undefined || destination === undefined) return refuse('its line cannot be read')
  return done({ transport: 'tcp', source, destination })
}

function readEnd(address: string, port: string, family: string | undefined): SocketAddress | undefined {
  const bytes = ipToBytes(address)
  // An address mapped into IPv6 is one of IPv4 to us, and so is its family.
  const isFamily = family === 'TCP4' ? /^[\d.]+$/.test(address) : address.includes(':')
  const canonical = bytes === undefined ? undefined : ipFromBytes(bytes)
  if (canonical === undefined || !isFamily) return undefined
  if (!/^(?:0|[1-9]\d{0,4})$/.test(port) || Number(port) > MAX_LENGTH) return undefined
  return { address: canonical, port: Number(port) }
}

// Version 2: binary.

function formatVersion2(fields: ProxyHeaderFields): Buffer {
  const { addresses, sourceIdentity, tlvs = [], checksum = false } = fields
  const parts: Uint8Array[] = []
  let form = 0
  if (addresses !== undefined) {
    const isUdp = addresses.transport === 'udp'
    const ends = sameFamily(addresses)
    form = ((ends === undefined ? 0 : ends.source.length === 4 ? 1 : 2) << 4) | (isUdp ? 2 : 1)
    if (ends !== undefined) {
      const ports = Buffer.alloc(4)
      ports.writeUInt16BE(portOf(addresses.source), 0)
      ports.writeUInt16BE(portOf(addresses.destination), 2)
      parts.push(ends.source, ends.destination, ports)
    }
  }
  if (sourceIdentity !== undefined)
    parts.push(...formatTlv({ type: TLV.sourceIdentity, value: Buffer.from(sourceIdentity, 'utf8') }))
  for (const tlv of tlvs) parts.push(...formatTlv(tlv))
  if (checksum) parts.push(...formatTlv({ type: TLV.checksum, value: Buffer.alloc(CHECKSUM_BYTES) }))
  const body = Buffer.concat(parts)
  if (body.length > MAX_LENGTH) throw unwritable(`${body.length} bytes do not fit into a header`)
  const head = Buffer.alloc(FIXED_BYTES)
  SIGNATURE.copy(head)
  head[12] = addresses === undefined ? 0x20 : 0x21
  head[13] = form
  head.writeUInt16BE(body.length, 14)
  const header = Buffer.concat([head, body])
  if (checksum) header.writeUInt32BE(crc32c(header), header.length - CHECKSUM_BYTES)
  return header
}

function formatTlv({ type, value }: ProxyTlv): readonly Uint8Array[] {
  if (!Number.isInteger(type) || type < 0 || type > 0xff || value.length > MAX_LENGTH)
    throw unwritable(`TLV ${type} with ${value.length} bytes`)
  const head = Buffer.alloc(TLV_HEAD_BYTES)
  head[0] = type
  head.writeUInt16BE(value.length, 1)
  return [head, value]
}

function parseVersion2(bytes: Buffer, maxBytes: number): ParsedProxyHeader {
  if (bytes.length < FIXED_BYTES) return { kind: 'more' }
  const [verb = 0, form = 0] = bytes.subarray(12, 14)
  if (verb !== 0x20 && verb !== 0x21)
    return refuse(`version and command 0x${verb.toString(16)} are neither 2, PROXY nor 2, LOCAL`)
  const length = FIXED_BYTES + bytes.readUInt16BE(14)
  if (length > maxBytes) return refuse(`longer than ${maxBytes} bytes (proxyHeaderBytes)`)
  if (bytes.length < length) return { kind: 'more' }
  const header = bytes.subarray(0, length)
  const value = readVersion2(header, verb === 0x21 ? 'proxy' : 'local', form)
  return typeof value === 'string' ? refuse(value) : { kind: 'done', value, length }
}

/** The header, or the rule that it breaks. */
function readVersion2(header: Buffer, command: ProxyHeader['command'], form: number): ProxyHeader | string {
  const body = header.subarray(FIXED_BYTES)
  const known = FORMS.get(form)
  const isUnix = form === 0x31 || form === 0x32
  const isUnspecified = form >> 4 === 0
  if (known === undefined && !isUnix && !isUnspecified && command === 'proxy')
    return `family and transport 0x${form.toString(16)} are unknown`
  const addressBytes = known !== undefined ? 2 * known.ipBytes + 4 : isUnix ? UNIX_BYTES : 0
  const tlvs =
    body.length < addressBytes ? 'too short for its addresses' : readTlvs(body.subarray(addressBytes))
  if (typeof tlvs === 'string') {
    if (command === 'proxy') return tlvs
    // Whatever LOCAL is followed by is to be passed over.
    return { version: 2, command, addresses: undefined, tlvs: [], sourceIdentity: undefined }
  }
  const problem = checksumProblem(header, tlvs)
  if (problem !== undefined) return problem
  const identity = tlvs.find(tlv => tlv.type === TLV.sourceIdentity)
  const sourceIdentity = identity === undefined ? undefined : readText(identity.value)
  if (sourceIdentity === null) return 'the identity of the source is not UTF-8'
  const addresses = command === 'proxy' && known !== undefined ? readAddresses(body, known) : undefined
  return { version: 2, command, addresses, tlvs, sourceIdentity }
}

function readAddresses(
  body: Buffer,
  { ipBytes, transport }: { readonly ipBytes: number; readonly transport: 'tcp' | 'udp' },
): ProxyAddresses {
  const end = (at: number, portAt: number): SocketAddress => ({
    address: ipFromBytes(body.subarray(at, at + ipBytes)) ?? '',
    port: body.readUInt16BE(portAt),
  })
  return { transport, source: end(0, 2 * ipBytes), destination: end(ipBytes, 2 * ipBytes + 2) }
}

function readTlvs(bytes: Buffer): readonly ProxyTlv[] | string {
  const tlvs: ProxyTlv[] = []
  for (let at = 0; at < bytes.length; ) {
    const start = at + TLV_HEAD_BYTES
    const end = start > bytes.length ? Number.POSITIVE_INFINITY : start + bytes.readUInt16BE(at + 1)
    if (end > bytes.length) return 'a TLV runs past the end'
    const type = bytes[at] ?? 0
    // Two of these would mean two things to two readers.
    const isUnique = type === TLV.checksum || type === TLV.sourceIdentity
    if (isUnique && tlvs.some(tlv => tlv.type === type)) return `TLV 0x${type.toString(16)} twice`
    tlvs.push({ type, value: Uint8Array.from(bytes.subarray(start, end)) })
    at = end
  }
  return tlvs
}

/** The checksum is that of the whole header with zeros in its place. */
function checksumProblem(header: Buffer, tlvs: readonly ProxyTlv[]): string | undefined {
  let at = header.length - tlvs.reduce((sum, tlv) => sum + TLV_HEAD_BYTES + tlv.value.length, 0)
  for (const { type, value } of tlvs) {
    at += TLV_HEAD_BYTES
    if (type === TLV.checksum) {
      if (value.length !== CHECKSUM_BYTES) return `a checksum of ${value.length} bytes`
      const blank = Buffer.from(header)
      blank.fill(0, at, at + CHECKSUM_BYTES)
      return crc32c(blank) === header.readUInt32BE(at) ? undefined : 'its checksum is wrong'
    }
    at += value.length
  }
  return undefined
}

/** `null` when it is no text. */
function readText(value: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value)
  } catch {
    return null
  }
}

// Both versions.

/** Both addresses as bytes, `undefined` when they are of different families. */
function sameFamily(of: {
  readonly source: SocketAddress
  readonly destination: SocketAddress
}): { readonly source: Uint8Array; readonly destination: Uint8Array } | undefined {
  const [source, destination] = [of.source, of.destination].map(({ address }) => {
    const bytes = ipToBytes(address)
    if (bytes === undefined) throw unwritable(`${JSON.stringify(address)} is no IP address`)
    return bytes
  })
  if (source === undefined || destination === undefined || source.length !== destination.length)
    return undefined
  return { source, destination }
}

function portOf({ port }: SocketAddress): number {
  if (!Number.isInteger(port) || port < 0 || port > MAX_LENGTH) throw unwritable(`${port} is no port`)
  return port
}

/** Whether the bytes so far may become, or are, a start like this. */
function beginsAs(bytes: Buffer, start: Buffer): boolean {
  const seen = Math.min(bytes.length, start.length)
  return bytes.subarray(0, seen).equals(start.subarray(0, seen))
}

function refuse(reason: string): ParsedProxyHeader {
  return { kind: 'error', error: refusal(reason) }
}

function refusal(reason: string): HboneError {
  return new HboneError('AMBIENT_E_PROXY_PROTOCOL', `PROXY protocol header refused: ${reason}`, {
    layer: 'tcp',
  })
}

function unwritable(reason: string): HboneError {
  return new HboneError('AMBIENT_E_HBONE_OPTION', `PROXY protocol header: ${reason}`, { layer: 'tcp' })
}
