/**
 * Bytes and text that strangers write, mutated: certificates, PEM, certificate requests, SPIFFE IDs. What cannot be read is
 * an error of ours, nothing takes long, and what was read means the same when it is read again. `AMBIENT_FUZZ_SECONDS` is
 * for all targets together; `AMBIENT_SEED` repeats one input of the target that `-t` names. What once was read wrongly is kept
 * in `fuzz-corpus/` (hexadecimal, by target); `AMBIENT_CORPUS=write` writes the seeds that are made here.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { isAmbientError, parseSpiffeId, readSpiffeId, readTrustDomain } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { createCertificateRequest, explainChain, IdentityError, verifyPeerChain } from '../src/index.ts'
import { readCertificate } from '../src/x509/certificate.ts'
import { readRequestedKey } from '../src/x509/csr.ts'
import { formatPem, readBundleCertificates, readPem } from '../src/x509/pem.ts'
import { caExtensions, ext, intermediate, leaf, NOW, root, TRUST_DOMAIN, WEB } from './fixtures.ts'
import { mutate, Random } from './fuzz-mutate.ts'

const SECONDS = Number(process.env.AMBIENT_FUZZ_SECONDS ?? 5)
const MAX_STEP_MS = 50
const FOLDER = new URL('fuzz-corpus/', import.meta.url)

const anchor = await root()
const limited = await intermediate(anchor, 'CN=limited', {
  extensions: caExtensions({ pathLength: 1, more: [ext.uriConstraint(TRUST_DOMAIN)] }),
})
const web = await leaf(limited)
const request = await createCertificateRequest(parseSpiffeId(WEB))

interface Target {
  readonly seeds: readonly Buffer[]
  /** Throws when something is wrong. */
  readonly check: (input: Buffer) => void
}

const texts = (...list: readonly string[]): Buffer[] => list.map(text => Buffer.from(text))

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}

/** What a reader gives, or `undefined` when it refuses with an error of ours. */
function readOrRefuse<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    must(error instanceof IdentityError && error.message !== '', `threw ${String(error)}`)
    return undefined
  }
}

/** Whoever presents it, as a leaf and above one, the verdict has its reason, and the explanation agrees. */
function checkCertificate(input: Buffer): void {
  const certificate = readOrRefuse(() => readCertificate(input))
  if (certificate !== undefined) {
    must(
      Number.isFinite(certificate.notAfter) && Number.isFinite(certificate.notBefore),
      'a time that is none',
    )
    must(certificate.der.length === input.length, 'bytes were passed over')
  }
  for (const chain of [[input], [input, limited.der], [web.der, input]]) {
    const options = {
      chain,
      trustBundle: anchor.pem,
      ownTrustDomain: TRUST_DOMAIN,
      expect: { kind: 'any' },
      now: NOW,
    } as const
    const verdict = verifyPeerChain(options)
    const { verdict: explained, rules } = explainChain(options)
    must(verdict.ok === explained.ok, 'the explanation is of another verdict')
    must(verdict.ok === rules.every(({ outcome }) => outcome !== 'fail'), 'no rule says why')
    if (verdict.ok) must(readSpiffeId(verdict.id.uri).ok, `identity ${verdict.id.uri}`)
    else must(/^[ -~\u00a0-\uffff]+$/.test(verdict.reason), `reason ${JSON.stringify(verdict.reason)}`)
  }
}

const targets: Readonly<Record<string, Target>> = {
  certificate: {
    seeds: [web.der, limited.der, anchor.der].map(der => Buffer.from(der)),
    check: checkCertificate,
  },
  pem: {
    seeds: texts(web.pem, web.pem + limited.pem, `Subject: x\r\n${anchor.pem.replaceAll('\n', '\r\n')}`),
    check: input => {
      const text = input.toString('latin1')
      const blocks = readOrRefuse(() => readPem(text))
      const certificates = readBundleCertificates(text)
      if (blocks === undefined) return
      must(certificates.length <= blocks.length, 'a certificate that is no block')
      for (const { label, der } of blocks) {
        const [again, ...more] = readPem(formatPem(label, der))
        must(again !== undefined && more.length === 0, 'a block is read otherwise again')
        must(
          again?.label === label && Buffer.compare(again.der, der) === 0,
          'a block is read otherwise again',
        )
      }
    },
  },
  request: {
    seeds: texts(request.csrPem),
    check: input => {
      const text = input.toString('latin1')
      const key = readOrRefuse(() => readRequestedKey(text))
      must(key === undefined || key.length > 0, 'a key of nothing')
    },
  },
  spiffe: {
    seeds: texts(
      WEB,
      'spiffe://td',
      'spiffe://1.2.3.4/a/b/c',
      `spiffe://td/${'a'.repeat(2036)}`,
      'cluster.local',
    ),
    check: input => {
      for (const text of [input.toString('latin1'), input.toString('utf8')]) checkSpiffe(text)
    },
  },
}

/** The rules again, as one expression. */
const ORACLE = /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)*$/

function checkSpiffe(text: string): void {
  const read = readSpiffeId(text)
  // In JavaScript `$` is the end of the text, also before a line end.
  must(read.ok === (ORACLE.test(text) && text.length <= 2048), `verdict ${read.ok}`)
  if (read.ok) must(`spiffe://${read.id.trustDomain}${read.id.path}` === text, 'other parts')
  else must(read.code !== 'path-leading-slash' && read.reason !== '', `code ${read.code}`)
  const domain = readTrustDomain(text)
  if (domain.ok) must(readSpiffeId(`spiffe://${domain.trustDomain}`).ok, 'a trust domain that is none')
  try {
    must(parseSpiffeId(text).uri === text && read.ok, 'parsed what is not read')
  } catch (error) {
    must(isAmbientError(error) && !read.ok, `threw ${String(error)}`)
  }
}

function corpus(target: string): readonly Buffer[] {
  const folder = new URL(`${target}/`, FOLDER)
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter(file => file.endsWith('.hex'))
    .sort()
    .map(file => Buffer.from(readFileSync(new URL(file, folder), 'utf8').replace(/\s+/g, ''), 'hex'))
}

/** The path of the file, for messages. */
function save(target: string, name: string, bytes: Buffer): string {
  const folder = new URL(`${target}/`, FOLDER)
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL(`${name}.hex`, folder), `${bytes.toString('hex').replace(/.{96}(?=.)/g, '$&\n')}\n`)
  return `packages/identity/test/fuzz-corpus/${target}/${name}.hex`
}

/** A step that is slow once was interrupted; one that is slow again is slow. */
function checkInTime(check: Target['check'], input: Buffer): void {
  for (let tries = 1; ; tries++) {
    const since = performance.now()
    check(input)
    const tookMs = performance.now() - since
    if (tookMs <= MAX_STEP_MS) return
    must(tries < 4, `took ${Math.round(tookMs)} ms`)
  }
}

describe('survives mutations', () => {
  const seconds = SECONDS / Object.keys(targets).length
  for (const [name, { seeds: made, check }] of Object.entries(targets))
    it(`${name} for ${seconds.toFixed(2)} s`, { timeout: seconds * 1_000 + 30_000 }, () => {
      const { AMBIENT_CORPUS, AMBIENT_SEED } = process.env
      if (AMBIENT_CORPUS === 'write')
        for (const [index, seed] of made.entries()) save(name, `seed-${index + 1}`, seed)
      const seeds = [...made, ...corpus(name)]
      for (const seed of seeds) checkInTime(check, seed)
      const first = AMBIENT_SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(AMBIENT_SEED)
      const until = performance.now() + seconds * 1_000
      let seed = first
      for (; performance.now() < until; seed++) {
        const random = new Random(seed)
        const input = mutate(random, random.pick(seeds), seeds)
        try {
          checkInTime(check, input)
        } catch (error) {
          const file = save(name, `found-${seed}`, input)
          throw new Error(`AMBIENT_SEED=${seed}, saved as ${file}: ${String(error)}`, { cause: error })
        }
        if (AMBIENT_SEED !== undefined) return
      }
      expect(seed).toBeGreaterThan(first)
      process.stdout.write(`fuzz ${name}: ${Math.round((seed - first) / seconds)} inputs a second\n`)
    })
})
