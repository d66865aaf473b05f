/**
 * Which addresses a fetch of keys may not reach, whatever name led there: an address in a document must not make us ask
 * the machine itself, its neighbours on the link, or the cloud that it runs in.
 */
import { type Cidr, cidrContains, ipToBytes, parseCidr } from '@ambient/core'

/** Private ranges are not among them by default: many meshes run their identity provider inside. */
const ALWAYS = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  // Link-local, with the metadata service of most clouds in it.
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/128',
  '::1/128',
  'fe80::/10',
  'ff00::/8',
  // Metadata services outside of the link-local range: Alibaba, Azure, Oracle, AWS over IPv6.
  '100.100.100.200/32',
  '168.63.129.16/32',
  '192.0.0.192/32',
  'fd00:ec2::/32',
].map(parseCidr)

/** What is inside of somebody's network, and of nobody else's. */
const PRIVATE = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '172.16.0.0/12',
  '192.168.0.0/16',
  'fc00::/7',
  // Site-local: deprecated (RFC 3879), and still what its name says.
  'fec0::/10',
].map(parseCidr)

interface Embedding {
  readonly range: Cidr
  /** Where the IPv4 address begins. */
  readonly at: number
  /** Each bit turned over, as Teredo writes its client. */
  readonly isInverted?: true
}

/** IPv6 with an IPv4 address inside; mapped ones are IPv4 already. */
const EMBEDDED: readonly Embedding[] = [
  { range: parseCidr('64:ff9b::/96'), at: 12 },
  // NAT64 of a network's own (RFC 8215), in its usual form, and SIIT.
  { range: parseCidr('64:ff9b:1::/48'), at: 12 },
  { range: parseCidr('::ffff:0:0:0/96'), at: 12 },
  { range: parseCidr('::/96'), at: 12 },
  // 6to4.
  { range: parseCidr('2002::/16'), at: 2 },
  // Teredo: its server, and its client.
  { range: parseCidr('2001::/32'), at: 4 },
  { range: parseCidr('2001::/32'), at: 12, isInverted: true },
]

/** Whether an address is one of them, or leads to one by the IPv4 address in it. What is no address is. */
export function createAddressGuard(options: {
  readonly blockedCidrs: readonly string[]
  readonly allowedCidrs: readonly string[]
  readonly blockPrivate: boolean
}): (address: string) => boolean {
  const blocked = [
    ...ALWAYS,
    ...(options.blockPrivate ? PRIVATE : []),
    ...options.blockedCidrs.map(parseCidr),
  ]
  const allowed = options.allowedCidrs.map(parseCidr)
  const isIn = (cidrs: readonly Cidr[], bytes: Uint8Array): boolean =>
    cidrs.some(cidr => cidrContains(cidr, bytes))
  return address => {
    const bytes = ipToBytes(address.replace(/%.*$/, ''))
    if (bytes === undefined) return true
    if (isIn(allowed, bytes)) return false
    // An exception for one of several that an address leads to is none for the others.
    return [bytes, ...embedded(bytes)].some(spelling => isIn(blocked, spelling) && !isIn(allowed, spelling))
  }
}

function embedded(bytes: Uint8Array): readonly Uint8Array[] {
  if (bytes.length !== 16) return []
  return EMBEDDED.filter(({ range }) => cidrContains(range, bytes)).map(({ at, isInverted }) => {
    const inside = bytes.slice(at, at + 4)
    return isInverted === true ? inside.map(byte => byte ^ 0xff) : inside
  })
}
