/** PROXY protocol version 2: written towards waypoints and plaintext entrances, read at our own entrance. */
import { ipFromBytes, ipToBytes } from '@ambient/core'
import { ZtunnelError } from './errors.ts'
import type { Parsed } from '@ambient/core/node'

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const HEADER_BYTES = 16
/** Addresses and a few TLVs; the format allows 64 KiB, which nobody needs before a byte of traffic. */
const MAX_BODY_BYTES = 1_024
/** Istio's TLV with the SPIFFE ID of the source. */
const SOURCE_IDENTITY_TLV = 0xd0

interface Endpoint {
  readonly address: string
  readonly port: number
}

export interface ProxyHeader {
  readonly source: Endpoint
  readonly destination: Endpoint
  /** A claim of whoever wrote the header, never proof. */
  readonly sourceIdentity?: string
}

/** Families that differ give the UNSPEC form without addresses, as ztunnel writes it. */
export function formatProxyHeader(header: ProxyHeader): Buffer {
  const source = ipToBytes(header.source.address)
  const destination = ipToBytes(header.destination.address)
  const isSameFamily = source !== undefined && source.length === destination?.length
  const parts: Uint8Array[] = []
  let family = 0x01
  if (isSameFamily) {
    family = source.length === 4 ? 0x11 : 0x21
    const portBytes = Buffer.alloc(4)
    portBytes.writeUInt16BE(header.source.port, 0)
    portBytes.writeUInt16BE(header.destination.port, 2)
    parts.push(source, destination, portBytes)
  }
  if (header.sourceIdentity !== undefined) {
    const text = Buffer.from(header.sourceIdentity, 'utf8')
    const tlv = Buffer.alloc(3)
    tlv[0] = SOURCE_IDENTITY_TLV
    tlv.writeUInt16BE(text.length, 1)
    parts.push(tlv, text)
  }
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(HEADER_BYTES)
  SIGNATURE.copy(head)
  head[12] = 0x21
  head[13] = family
  head.writeUInt16BE(body.length, 14)
  return Buffer.concat([head, body])
}

/** Reads a header with TCP addresses; LOCAL and UNSPEC headers are errors, because they name no destination. */
export function parseProxyHeader(bytes: Buffer): Parsed<ProxyHeader> {
  const seen = Math.min(bytes.length, SIGNATURE.length)
  if (!bytes.subarray(0, seen).equals(SIGNATURE.subarray(0, seen)))
    return broken('the connection does not begin with one')
  if (bytes.length < HEADER_BYTES) return { kind: 'more' }
  if (bytes[12] !== 0x21)
    return broken(`version and command 0x${bytes[12]?.toString(16)} instead of 2, PROXY`)
  const addressBytes = bytes[13] === 0x11 ? 4 : bytes[13] === 0x21 ? 16 : undefined
  if (addressBytes === undefined)
    return broken(`family 0x${bytes[13]?.toString(16)} is not TCP over IPv4 or IPv6`)
  const bodyLength = bytes.readUInt16BE(14)
  if (bodyLength < 2 * addressBytes + 4) return broken('too short for its addresses')
  if (bodyLength > MAX_BODY_BYTES) return broken(`longer than ${MAX_BODY_BYTES} bytes`)
  const length = HEADER_BYTES + bodyLength
  if (bytes.length < length) return { kind: 'more' }
  return readBody(bytes.subarray(HEADER_BYTES, length), addressBytes, length)
}

function readBody(body: Buffer, addressBytes: number, length: number): Parsed<ProxyHeader> {
  const source = ipFromBytes(body.subarray(0, addressBytes))
  const destination = ipFromBytes(body.subarray(addressBytes, 2 * addressBytes))
  if (source === undefined || destination === undefined) return broken('unreadable addresses')
  const sourceIdentity = readIdentity(body.subarray(2 * addressBytes + 4))
  if (sourceIdentity === null) return broken('a TLV runs past the end')
  return {
    kind: 'done',
    length,
    value: {
      source: { address: source, port: body.readUInt16BE(2 * addressBytes) },
      destination: { address: destination, port: body.readUInt16BE(2 * addressBytes + 2) },
      ...(sourceIdentity === undefined ? {} : { sourceIdentity }),
    },
  }
}

/** `null` when a length is wrong. */
function readIdentity(tlvs: Buffer): string | undefined | null {
  let identity: string | undefined
  for (let at = 0; at < tlvs.length; ) {
    if (at + 3 > tlvs.length) return null
    const end = at + 3 + tlvs.readUInt16BE(at + 1)
    if (end > tlvs.length) return null
    if (tlvs[at] === SOURCE_IDENTITY_TLV) identity = tlvs.toString('utf8', at + 3, end)
    at = end
  }
  return identity
}

function broken(reason: string): Parsed<never> {
  return {
    kind: 'error',
    error: new ZtunnelError('AMBIENT_E_PROXY_PROTOCOL', `PROXY protocol header refused: ${reason}`, {
      layer: 'tcp',
    }),
  }
}
