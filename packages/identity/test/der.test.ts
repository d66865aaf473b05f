/** The readers of foreign bytes: they give facts or a named error, never anything else. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readCertificate } from '../src/x509/certificate.ts'
import {
  DerReader,
  readBitString,
  readBoolean,
  readInteger,
  readOid,
  readTime,
  tags,
} from '../src/x509/der.ts'
import { IdentityError } from '../src/index.ts'
import { formatPem, readPem, readPemCertificates } from '../src/x509/pem.ts'
import { leaf, root, tlv } from './fixtures.ts'

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const element = (...values: number[]): ReturnType<DerReader['next']> =>
  new DerReader(bytes(...values)).next('it')

/** Runs a reader on hostile bytes; anything but a result or our own error fails the test. */
const namedOrFine = (run: () => unknown): boolean => {
  try {
    run()
    return true
  } catch (error) {
    return error instanceof IdentityError
  }
}

describe('DER', () => {
  it('refuses the liberties of BER', () => {
    for (const bad of [
      [0x30],
      [0x30, 0x80, 0, 0],
      [0x30, 0x81, 0x05, 0, 0, 0, 0, 0],
      [0x30, 0x82, 0x00, 0x80, ...new Array(128).fill(0)],
      [0x30, 0x84, 0, 0, 0, 1, 0],
      [0x30, 0x02, 0x00],
      [0x1f, 0x81, 0x00],
      [0x30, 0xff],
    ])
      expect(() => element(...bad), bad.slice(0, 6).join(' ')).toThrow(IdentityError)
    expect(() => readBoolean(element(1, 1, 1), 'b')).toThrow(/not DER/)
    expect(readBoolean(element(1, 1, 0xff), 'b')).toBe(true)
    expect(() => readInteger(element(2, 2, 0, 1), 'i')).toThrow(/not DER/)
    expect(() => readInteger(element(2, 2, 0xff, 0x80), 'i')).toThrow(/not DER/)
    expect(() => readInteger(element(2, 0), 'i')).toThrow(/empty/)
    expect(() => readBitString(element(3, 2, 1, 1), 's')).toThrow(/not DER/)
    expect(() => readBitString(element(3, 1, 1), 's')).toThrow(/not DER/)
    expect(() => readBitString(element(3, 2, 8, 0), 's')).toThrow(/not DER/)
    expect(() => readOid(element(6, 2, 0x80, 1), 'o')).toThrow(/not DER/)
    expect(() => readOid(element(6, 1, 0x81), 'o')).toThrow(/cut short/)
    expect(() => readOid(element(6, 0), 'o')).toThrow(/cut short/)
    expect(readOid(element(6, 3, 0x55, 0x1d, 0x11), 'o')).toBe('2.5.29.17')
    expect(readOid(element(6, 2, 0x88, 0x37), 'o')).toBe('2.999')
  })

  it('reads the times of RFC 5280 and no others', () => {
    const time = (tag: number, text: string): number =>
      readTime(new DerReader(tlv(tag, Buffer.from(text))).next('t'), 't')
    expect(time(tags.utcTime, '491231235959Z')).toBe(Date.UTC(2049, 11, 31, 23, 59, 59))
    expect(time(tags.utcTime, '500101000000Z')).toBe(Date.UTC(1950, 0, 1))
    expect(time(tags.generalizedTime, '20500101000000Z')).toBe(Date.UTC(2050, 0, 1))
    expect(time(tags.generalizedTime, '00010101000000Z')).toBeLessThan(Date.UTC(1000))
    for (const bad of [
      '260230000000Z',
      '260101240000Z',
      '260101006000Z',
      '2601010000Z',
      '260101000000+0000',
      '',
    ])
      expect(() => time(tags.utcTime, bad), bad).toThrow(/time/)
    expect(() => time(tags.generalizedTime, '20260101000000.5Z')).toThrow(/time/)
  })

  it('never fails with anything but its own error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), input => namedOrFine(() => readCertificate(input))),
    )
  })

  it('survives every kind of damage to a real certificate', async () => {
    const { der } = await leaf(await root())
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.nat(255), fc.nat(4), (at, value, cut) => {
        const damaged = Uint8Array.from(der).subarray(0, der.length - cut)
        if (at < damaged.length) damaged[at] = value
        return namedOrFine(() => readCertificate(damaged))
      }),
      { numRuns: 500 },
    )
  })
})

describe('PEM', () => {
  it('gives back what was written, through text and CRLF around it', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 400 }), der => {
        const pem = formatPem('CERTIFICATE', der)
        for (const text of [pem, pem.replaceAll('\n', '\r\n'), `Subject: x\n${pem}trailing`])
          expect(Buffer.from(readPemCertificates(text)[0] ?? [])).toEqual(Buffer.from(der))
      }),
    )
  })

  it('refuses blocks that are cut, nested or not base64', () => {
    const pem = formatPem('CERTIFICATE', bytes(1, 2, 3, 4))
    for (const bad of [
      pem.slice(0, -5),
      pem.replace('END CERTIFICATE', 'END KEY'),
      `-----BEGIN CERTIFICATE-----\n${pem}`,
      pem.replace('AQIDBA==', 'AQIDBA='),
      pem.replace('AQIDBA==', 'A*IDBA=='),
      '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n',
    ])
      expect(() => readPem(bad), bad).toThrow(IdentityError)
    expect(readPem('nothing here')).toEqual([])
  })
})
