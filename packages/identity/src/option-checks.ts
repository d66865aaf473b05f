/** What callers without types get wrong is said by the name of the option, before anything else happens. */
import { wordsFor } from '@ambient/core'
import { IdentityError } from './errors.ts'

type Fields = Readonly<Record<string, unknown>>

interface Kind {
  readonly expected: string
  fits(value: unknown): boolean
}

const kinds = {
  text: { expected: 'a text', fits: value => typeof value === 'string' },
  list: { expected: 'an array', fits: value => Array.isArray(value) },
  number: { expected: 'a number', fits: value => typeof value === 'number' },
  object: { expected: 'an object', fits: isObject },
  function: { expected: 'a function', fits: value => typeof value === 'function' },
  id: {
    expected: 'a SpiffeId (parseSpiffeId() of @ambient/core makes one)',
    fits: value => isObject(value) && typeof value['uri'] === 'string',
  },
  authority: {
    expected: 'a CA (createCertificateAuthority() makes one)',
    fits: value => has(value, 'sign', 'issueServerCertificate'),
  },
  trust: {
    expected: 'a CA, or { rootPem, trustDomain }',
    fits: value => isObject(value) && typeof value['trustDomain'] === 'string',
  },
  signer: {
    expected: 'a CertificateSigner (createLocalSigner(ca) makes one)',
    fits: value => has(value, 'sign', 'close'),
  },
  source: {
    expected: 'an X509Source (manager.x509Source(id) or createFileSource() makes one)',
    fits: value => has(value, 'get', 'current', 'watch') && has(value, 'close'),
  },
  credentials: {
    expected: 'a CredentialsSource (createIdentityManager() makes one)',
    fits: value => has(value, 'get', 'current', 'watch'),
  },
} satisfies Readonly<Record<string, Kind>>

export type OptionKind = keyof typeof kinds

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function checkOption(name: string, value: unknown, kind: OptionKind): void {
  const { expected, fits }: Kind = kinds[kind]
  if (!fits(value)) throw mismatch(name, expected, value)
}

/** That the options are an object, and what has to be in it. @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function checkOptions(options: unknown, required: Readonly<Record<string, OptionKind>> = {}): void {
  if (!isObject(options)) throw mismatch('options', kinds.object.expected, options)
  for (const [name, kind] of Object.entries(required)) checkOption(name, options[name], kind)
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

function has(value: unknown, ...methods: readonly string[]): boolean {
  return isObject(value) && methods.every(method => typeof value[method] === 'function')
}

function mismatch(name: string, expected: string, found: unknown): IdentityError {
  const message = `${name}: expected ${expected}, found ${wordsFor(found)}`
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
