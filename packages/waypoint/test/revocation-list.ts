/** Revocation lists of a CA that keeps its key to itself: the test looks on while the key is made. */
import { createPublicKey, KeyObject, sign, webcrypto, X509Certificate } from 'node:crypto'
import { vi } from 'vitest'

/** PEM of a list that withdraws these certificates (PEM, leaf first). */
export type RevocationLists = (rootPem: string, revoked: readonly string[]) => string

/** Runs `make`, which makes a CA, and gives what signs that CA's lists. */
export async function watchingKeys<T>(make: () => Promise<T>): Promise<[T, RevocationLists]> {
  const { subtle } = webcrypto
  const pairs: webcrypto.CryptoKeyPair[] = []
  const original = subtle.generateKey.bind(subtle) as (...args: unknown[]) => Promise<webcrypto.CryptoKeyPair>
  const spy = vi.spyOn(subtle, 'generateKey') as unknown as {
    mockImplementation(run: (...args: unknown[]) => unknown): void
    mockRestore(): void
  }
  spy.mockImplementation(async (...args) => {
    const pair = await original(...args)
    pairs.push(pair)
    return pair
  })
  try {
    return [await make(), (rootPem, revoked) => listOf(rootPem, keyOf(rootPem, pairs), revoked)]
  } finally {
    spy.mockRestore()
  }
}

function keyOf(rootPem: string, pairs: readonly webcrypto.CryptoKeyPair[]): KeyObject {
  const spki = (key: KeyObject): string => key.export({ type: 'spki', format: 'der' }).toString('hex')
  const wanted = spki(new X509Certificate(rootPem).publicKey)
  for (const { privateKey } of pairs) {
    const key = KeyObject.from(privateKey)
    if (spki(createPublicKey(key)) === wanted) return key
  }
  throw new Error('the key of this root was not seen')
}

/** RFC 5280 §5.1, with nothing that may be left out but the next update. */
function listOf(rootPem: string, key: KeyObject, revoked: readonly string[]): string {
  const algorithm = tlv(0x30, tlv(0x06, Buffer.from('2a8648ce3d040302', 'hex')))
  const now = Date.now()
  const entries = revoked.map(pem =>
    tlv(0x30, tlv(0x02, tbsOf(pem)[1]?.content ?? Buffer.of()), timeOf(now - 1000)),
  )
  const list = tlv(
    0x30,
    tlv(0x02, Buffer.of(1)),
    algorithm,
    // Of a root, issuer and subject are one.
    tbsOf(rootPem)[3]?.raw ?? Buffer.of(),
    timeOf(now - 1000),
    timeOf(now + 3_600_000),
    ...(entries.length === 0 ? [] : [tlv(0x30, ...entries)]),
  )
  const signature = Buffer.concat([Buffer.of(0), sign('sha256', list, key)])
  const der = tlv(0x30, list, algorithm, tlv(0x03, signature))
  return `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`
}

function timeOf(at: number): Buffer {
  const digits = new Date(at).toISOString().replace(/[-:T]/g, '').slice(2, 14)
  return tlv(0x17, Buffer.from(`${digits}Z`))
}

function tlv(tag: number, ...content: readonly Buffer[]): Buffer {
  const body = Buffer.concat(content)
  const size = body.length
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

interface Element {
  readonly raw: Buffer
  readonly content: Buffer
}

/** Version, serial number, algorithm, issuer and the rest of what is signed. */
function tbsOf(pem: string): Element[] {
  const [certificate] = elements(new X509Certificate(pem).raw)
  const [tbs] = elements(certificate?.content ?? Buffer.of())
  return elements(tbs?.content ?? Buffer.of())
}

function elements(bytes: Buffer): Element[] {
  const found: Element[] = []
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at + 1] ?? 0
    const wide = first < 0x80 ? 0 : first & 0x7f
    const length = wide === 0 ? first : bytes.readUIntBE(at + 2, wide)
    const from = at + 2 + wide
    found.push({ raw: bytes.subarray(at, from + length), content: bytes.subarray(from, from + length) })
    at = from + length
  }
  return found
}
