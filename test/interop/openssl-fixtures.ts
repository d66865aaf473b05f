/** Certificates with any fault, made by the OpenSSL command: an independent writer of DER for the table of faults. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const OPENSSL = process.env['OPENSSL'] ?? 'openssl'
/** `faketime`, where it is installed: another clock for one command. */
export const FAKETIME = process.env['FAKETIME_BIN'] ?? 'faketime'
export const WEB = 'spiffe://td.example/ns/shop/sa/web'

/** Why there can be no such test, `undefined` when there can. */
export function missing(command: string, ...args: readonly string[]): string | undefined {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return undefined
  } catch {
    return `there is no ${command}`
  }
}

export interface Signed {
  readonly name: string
  /** PEM files; the chain is the leaf and its intermediates. */
  readonly chainFile: string
  readonly keyFile: string
  readonly certFile: string
  readonly chainPem: string
  readonly certPem: string
  readonly subject: string
}

export interface SignOptions {
  readonly signer?: Signed
  readonly subject?: string
  /** Lines of an extension section of OpenSSL's configuration. */
  readonly extensions: readonly string[]
  /** Arguments of `openssl genpkey`. Default: P-256. */
  readonly key?: readonly string[]
  readonly digest?: string
  /** Days from now; default -1 to 2. */
  readonly fromDay?: number
  readonly toDay?: number
  /** Signed by a clock that is so many days ahead, for a day, instead of with dates in the request. */
  readonly clockDays?: number
}

export interface OpensslMaker {
  readonly folder: string
  sign(name: string, options: SignOptions): Signed
}

const DAY_MS = 86_400_000
const P256 = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256']

export const LEAF = [
  'basicConstraints=critical,CA:FALSE',
  'keyUsage=critical,digitalSignature',
  'extendedKeyUsage=serverAuth,clientAuth',
  `subjectAltName=critical,URI:${WEB}`,
]
export const CA = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign']

/** The same lines without those of one extension, and with others instead. */
export function instead(of: string, ...lines: readonly string[]): readonly string[] {
  return [...LEAF.filter(line => !line.startsWith(`${of}=`)), ...lines]
}

/** A SAN whose bytes are given, for what OpenSSL's own syntax cannot say. */
export function rawSan(...names: readonly (readonly [tag: number, value: string])[]): string {
  const encoded = names.map(([tag, value]) => tlv(tag, Buffer.from(value, 'latin1')))
  return `subjectAltName=critical,DER:${tlv(0x30, Buffer.concat(encoded)).toString('hex')}`
}

function tlv(tag: number, body: Buffer): Buffer {
  const { length } = body
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), body])
}

export function createOpensslMaker(): OpensslMaker {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-openssl-'))
  const at = (name: string): string => join(folder, name)
  const run = (...args: readonly string[]): void => void execFileSync(OPENSSL, args, { stdio: 'pipe' })
  let serial = 1

  const sign = (name: string, options: SignOptions): Signed => {
    const { subject = '/', digest = 'sha256', key = P256, signer } = options
    const own = `${serial++}`
    const [keyFile, csr, config, certFile] = ['key', 'csr', 'cnf', 'crt'].map(kind => at(`${own}.${kind}`))
    if (!keyFile || !csr || !config || !certFile) throw new Error('no names')
    run('genpkey', ...key, '-out', keyFile)
    writeFileSync(config, configuration(folder, own, options.extensions))
    run('req', '-new', '-key', keyFile, '-subj', subject, '-config', config, '-out', csr)
    const by =
      signer === undefined
        ? ['-selfsign', '-keyfile', keyFile]
        : ['-cert', signer.certFile, '-keyfile', signer.keyFile]
    if (options.clockDays === undefined) {
      const { fromDay = -1, toDay = 2 } = options
      const dates = ['-startdate', asn1Time(fromDay), '-enddate', asn1Time(toDay)]
      writeFileSync(at(`${own}.db`), '')
      run(
        'ca',
        '-batch',
        '-config',
        config,
        '-in',
        csr,
        '-out',
        certFile,
        '-md',
        digest,
        '-notext',
        '-preserveDN',
        ...dates,
        ...by,
      )
    } else {
      const from = signer ?? { certFile: '', keyFile }
      const issue = ['x509', '-req', '-in', csr, '-CA', from.certFile, '-CAkey', from.keyFile, '-days', '1']
      const rest = ['-extfile', config, '-extensions', 'given', '-set_serial', own, '-out', certFile]
      execFileSync(
        FAKETIME,
        ['-f', `${options.clockDays < 0 ? '' : '+'}${options.clockDays}d`, OPENSSL, ...issue, ...rest],
        { stdio: 'pipe' },
      )
    }
    const certPem = readFileSync(certFile, 'utf8')
    const chainPem = `${certPem}${signer !== undefined && signer.subject !== ROOT ? signer.chainPem : ''}`
    const chainFile = at(`${own}.chain`)
    writeFileSync(chainFile, chainPem)
    return { name, chainFile, keyFile, certFile, chainPem, certPem, subject }
  }
  return { folder, sign }
}

/** Roots are not presented. */
export const ROOT = '/O=td.example'

function asn1Time(days: number): string {
  return `${new Date(Date.now() + days * DAY_MS).toISOString().replace(/[-:T]|\..*/g, '')}Z`
}

function configuration(folder: string, own: string, extensions: readonly string[]): string {
  return `
[req]
distinguished_name=dn
[dn]
[ca]
default_ca=here
[here]
database=${folder}/${own}.db
new_certs_dir=${folder}
rand_serial=yes
policy=any
default_md=sha256
x509_extensions=given
email_in_dn=no
unique_subject=no
[any]
countryName=optional
organizationName=optional
commonName=optional
[given]
${extensions.join('\n')}
`
}
