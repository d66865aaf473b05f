/** What revocation lists say of a proven path, and which lists say anything at all. */
import 'reflect-metadata'
import { Extension } from '@peculiar/x509'
import { describe, expect, it } from 'vitest'
import { type CrlMode, crlSet, revocationProblem } from '../src/crl/judge.ts'
import { readCrls } from '../src/crl/read-crls.ts'
import type { Revocations } from '../src/crl/revocations.ts'
import { verifyPeerChain } from '../src/index.ts'
import { readCertificate } from '../src/x509/certificate.ts'
import { crlOf, derOf } from './crl-fixtures.ts'
import {
  caExtensions,
  ext,
  HOUR,
  intermediate,
  KU,
  leaf,
  type Made,
  NOW,
  p256,
  root,
  tlv,
} from './fixtures.ts'

const serialOf = (made: Made): string => readCertificate(made.der).serial

function revocationsOf(pem: string, mode: CrlMode = 'allow-unknown', now = NOW): Revocations {
  const set = crlSet(readCrls(Buffer.from(pem)))
  return { problemOf: (path, at) => revocationProblem(path, { set, mode, at, now }) }
}

function verdictOn(chain: readonly Made[], anchors: readonly Made[], revocations: Revocations, now = NOW) {
  return verifyPeerChain({
    chain: chain.map(made => made.der),
    trustBundle: anchors.map(made => made.pem).join(''),
    ownTrustDomain: 'td.example',
    expect: { kind: 'any' },
    revocations,
    now,
  })
}

describe('a file of revocation lists', () => {
  it('is PEM with any number of lists, other blocks passed over, or DER, or nothing', async () => {
    const [ca, other] = [await root(), await root('O=other')]
    const first = await crlOf(ca, { serials: ['0a', '7f00000000000000000000000000000001'] })
    const second = await crlOf(other)
    const broken =
      '-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n'
    const lists = readCrls(Buffer.from(`# comment\r\n${ca.pem}${first}${broken}${second}`))
    expect(lists.map(list => [...list.revoked])).toEqual([['0a', '7f00000000000000000000000000000001'], []])
    expect(lists[0]).toMatchObject({ thisUpdate: NOW - HOUR, nextUpdate: NOW + HOUR, isPartial: false })
    expect(readCrls(derOf(first))).toHaveLength(1)
    for (const empty of ['', ' \n', ca.pem]) expect(readCrls(Buffer.from(empty))).toEqual([])
  })

  const garbage: readonly (readonly [string, (pem: string) => Uint8Array, RegExp])[] = [
    ['text', () => Buffer.from('no list'), /neither PEM nor DER/],
    ['PEM that is cut', pem => Buffer.from(pem.slice(0, -40)), /1 lists begin, 0 end/],
    ['PEM whose second list is cut', pem => Buffer.from(pem + pem.slice(0, 200)), /2 lists begin, 1 end/],
    ['PEM without base64', pem => Buffer.from(pem.replace(/M/g, '*')), /PEM/],
    ['DER that is cut', pem => derOf(pem).subarray(0, -1), /cut short/],
    ['DER with more behind it', pem => Buffer.concat([derOf(pem), Buffer.of(0)]), /1 bytes too many/],
  ]
  it.each(garbage)('is refused as a whole: %s', async (_, change, message) => {
    const pem = await crlOf(await root(), { serials: ['0a'] })
    expect(() => readCrls(change(pem))).toThrowError(message)
    expect(() => readCrls(change(pem))).toThrowError(expect.objectContaining({ code: 'AMBIENT_E_CRL' }))
  })

  it('is not read as whole lists when they are of another kind', async () => {
    const ca = await root()
    const refused = async (extension: Extension): Promise<unknown> => {
      try {
        return readCrls(Buffer.from(await crlOf(ca, { extensions: [extension] })))
      } catch (error) {
        return error instanceof Error ? error.message : error
      }
    }
    expect(await refused(new Extension('2.5.29.27', true, tlv(0x02, Buffer.of(1))))).toMatch(/delta/)
    const indirect = tlv(0x30, tlv(0x84, Buffer.of(0xff)))
    expect(await refused(new Extension('2.5.29.28', true, indirect))).toMatch(/indirect/)
    expect(await refused(new Extension('1.2.3', true, Buffer.of(5, 0)))).toMatch(/critical extension 1.2.3/)
    expect(await refused(new Extension('1.2.3', false, Buffer.of(5, 0)))).toHaveLength(1)
    const entryExtensions = [new Extension('1.2.3', true, Buffer.of(5, 0))]
    const entries = await crlOf(ca, { serials: ['0a'], entryExtensions })
    expect(() => readCrls(Buffer.from(entries))).toThrowError(/1.2.3 of an entry/)
  })

  it('of a hundred thousand entries is read while nobody notices', () => {
    // By hand: the library's generator compares each entry with all before.
    const name = tlv(
      0x30,
      tlv(0x31, tlv(0x30, tlv(0x06, Buffer.of(85, 4, 10)), tlv(0x0c, Buffer.from('big')))),
    )
    const time = tlv(0x17, Buffer.from('260101000000Z'))
    const algorithm = tlv(0x30, tlv(0x06, Buffer.from('2a8648ce3d040302', 'hex')))
    const long = (...parts: readonly Uint8Array[]): Uint8Array => {
      const body = Buffer.concat(parts)
      return Buffer.concat([
        Buffer.of(0x30, 0x83, body.length >> 16, (body.length >> 8) & 0xff, body.length & 0xff),
        body,
      ])
    }
    const entries = Array.from({ length: 100_000 }, (_, i) => {
      const serial = Buffer.alloc(16, 0x40)
      serial.writeUInt32BE(i, 12)
      return tlv(0x30, tlv(0x02, serial), time)
    })
    const list = long(tlv(0x02, Buffer.of(1)), algorithm, name, time, time, long(...entries))
    const der = long(list, algorithm, tlv(0x03, Buffer.of(0, 1)))
    const began = performance.now()
    const [read] = readCrls(der)
    expect(read?.revoked.size).toBe(100_000)
    // A tenth of a second on a quiet machine; a reader that compares entries takes minutes.
    expect(performance.now() - began).toBeLessThan(5_000)
  })

  it('survives any change of a byte: it is refused, or read', async () => {
    const der = Buffer.from(derOf(await crlOf(await root(), { serials: ['0a', '0b'] })))
    let refused = 0
    for (let at = 0; at < der.length; at += 1)
      for (const bit of [0x01, 0x80]) {
        const changed = Buffer.from(der)
        changed.writeUInt8(changed.readUInt8(at) ^ bit, at)
        try {
          readCrls(changed)
        } catch (error) {
          expect(error).toMatchObject({ code: 'AMBIENT_E_CRL' })
          refused += 1
        }
      }
    expect(refused).toBeGreaterThan(100)
  })
})

describe('a revocation list', () => {
  it('withdraws the leaf, or everything below an intermediate', async () => {
    const ca = await root()
    const between = await intermediate(ca, 'CN=between')
    const web = await leaf(between)
    const chain = [web, between]
    const ofRoot = await crlOf(ca, { serials: [serialOf(between)] })
    const ofBetween = await crlOf(between, { serials: [serialOf(web)] })
    expect(verdictOn(chain, [ca], revocationsOf(await crlOf(ca)))).toMatchObject({ ok: true })
    expect(verdictOn(chain, [ca], revocationsOf(ofBetween))).toEqual({
      ok: false,
      problem: 'revoked',
      reason: expect.stringMatching(
        /^leaf \(spiffe:.*serial [0-9a-f]+ was revoked by its issuer, certificate 2 of 2/,
      ),
    })
    expect(verdictOn(chain, [ca], revocationsOf(ofRoot))).toMatchObject({
      problem: 'revoked',
      reason: expect.stringMatching(/^certificate 2 of 2: serial/),
    })
    // A stale list, and a moment before it was issued: what was revoked is revoked.
    const stale = await crlOf(between, {
      serials: [serialOf(web)],
      thisUpdate: NOW - 3 * HOUR,
      nextUpdate: NOW - HOUR,
    })
    expect(verdictOn(chain, [ca], revocationsOf(stale))).toMatchObject({ problem: 'revoked' })
  })

  it('says nothing when it is another issuer’s, forged, or of one that may not sign lists', async () => {
    const [ca, other, thief] = [await root(), await root('O=other'), await p256()]
    const web = await leaf(ca)
    const serials = [serialOf(web)]
    for (const list of [await crlOf(other, { serials }), await crlOf(ca, { serials, keys: thief })])
      for (const [mode, expected] of [
        ['allow-unknown', { ok: true }],
        [
          'require',
          {
            problem: 'revocation-unknown',
            reason: expect.stringMatching(/there is no list of trust anchor 1/),
          },
        ],
      ] as const)
        expect(verdictOn([web], [ca], revocationsOf(list, mode))).toMatchObject(expected)
    const quiet = await root('O=td.example', { extensions: caExtensions({ ku: ext.ku(KU.keyCertSign) }) })
    const signed = await leaf(quiet)
    const list = await crlOf(quiet, { serials: [serialOf(signed)] })
    expect(verdictOn([signed], [quiet], revocationsOf(list))).toMatchObject({ ok: true })
  })

  it('is that of the root that signed, of two roots with one name', async () => {
    const [old, young] = [await root(), await root()]
    const web = await leaf(young)
    const serials = [serialOf(web)]
    expect(verdictOn([web], [old, young], revocationsOf(await crlOf(old, { serials })))).toMatchObject({
      ok: true,
    })
    const both = (await crlOf(old)) + (await crlOf(young, { serials }))
    expect(verdictOn([web], [old, young], revocationsOf(both))).toMatchObject({ problem: 'revoked' })
  })

  it('has to be complete and in force where lists are required', async () => {
    const ca = await root()
    const between = await intermediate(ca, 'CN=between')
    const web = await leaf(between)
    const chain = [web, between]
    const ofRoot = await crlOf(ca)
    const judged = async (ofBetween: string, at = NOW, now = NOW) =>
      verdictOn(chain, [ca], revocationsOf(ofRoot + ofBetween, 'require', now), at)
    expect(await judged(await crlOf(between))).toMatchObject({ ok: true })
    expect(await judged('')).toMatchObject({
      problem: 'revocation-unknown',
      reason: expect.stringMatching(/^leaf/),
    })
    const stale = await crlOf(between, { nextUpdate: NOW - 1000 })
    expect(await judged(stale)).toMatchObject({
      reason: expect.stringMatching(/stale since 2026-05-31T23:59:59/),
    })
    // A session of before it became stale lives on, and one is not ended by a list that was issued since.
    expect(await judged(stale, NOW - 2000)).toMatchObject({ ok: true })
    const young = await crlOf(between, { thisUpdate: NOW + HOUR, nextUpdate: NOW + 2 * HOUR })
    expect(await judged(young)).toMatchObject({ problem: 'revocation-unknown' })
    expect(await judged(young, NOW, NOW + HOUR)).toMatchObject({ ok: true })
    const endless = await crlOf(between, { nextUpdate: null })
    expect(await judged(endless)).toMatchObject({ reason: expect.stringMatching(/names no next update/) })
    const scope = [new Extension('2.5.29.28', true, tlv(0x30, tlv(0x81, Buffer.of(0xff))))]
    const partial = await crlOf(between, { extensions: scope })
    expect(await judged(partial)).toMatchObject({ problem: 'revocation-unknown' })
    const named = await crlOf(between, { extensions: scope, serials: [serialOf(web)] })
    expect(await judged(named)).toMatchObject({ problem: 'revoked' })
    // Revoked counts before unknown, wherever in the path.
    const cut = await crlOf(ca, { serials: [serialOf(between)] })
    expect(verdictOn(chain, [ca], revocationsOf(cut, 'require'))).toMatchObject({ problem: 'revoked' })
  })
})
