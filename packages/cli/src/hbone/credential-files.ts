/**
 * Credentials from three PEM files that somebody else renews: they are looked at when they are asked for and read again when
 * one of them is another one. A set that cannot be read, or that does not belong together, leaves the last good one.
 */
import {
  type Credentials,
  isAmbientError,
  type Logger,
  messageOf,
  type PeerVerdict,
  type SpiffeId,
  systemClock,
} from '@ambient/core'
import {
  createCredentialFileReader,
  type CredentialFileReader,
  type Revocations,
  verifyPeerChain,
} from '@ambient/identity'
import { CliError } from '../errors.ts'
import type { CommonOptions } from './common-options.ts'

export interface CredentialFiles {
  /** As the files are now. */
  current(): Credentials
}

interface Paths {
  readonly cert: string
  readonly key: string
  readonly ca: string
}

/** Whom we believe beside what the certificates say. */
interface Wanted extends Pick<CommonOptions, 'peer' | 'trustDomain'> {
  readonly revocations?: Revocations | undefined
}

export interface CredentialFileSettings {
  /** Files that were looked at are as they were for so long; to be given by who asks for each tunnel. */
  readonly restMs?: number
  readonly revocations?: Revocations | undefined
}

/** @throws CliError USAGE when a file is not named, CREDENTIALS when they cannot be used. */
export function openCredentialFiles(
  options: CommonOptions,
  logger: Logger,
  { restMs = 0, revocations }: CredentialFileSettings = {},
): CredentialFiles {
  const paths = pathsOf(options)
  checkWanted(options)
  const wanted: Wanted = { ...options, revocations }
  const reader = createCredentialFileReader({
    certificate: paths.cert,
    privateKey: paths.key,
    trustBundle: paths.ca,
    ...(revocations === undefined ? {} : { revocations }),
  })
  const first = read(reader, paths)
  if (first === undefined) throw new CliError('AMBIENT_E_CLI_CREDENTIALS', 'the files were not read')
  let credentials = judging(first, wanted)
  let lookedAtMs = Number.NEGATIVE_INFINITY
  return {
    current() {
      const nowMs = systemClock.monotonic()
      if (nowMs - lookedAtMs < restMs) return credentials
      lookedAtMs = nowMs
      try {
        const renewed = read(reader, paths)
        if (renewed === undefined) return credentials
        credentials = judging(renewed, wanted)
        logger.info({ identity: credentials.id.uri }, 'the certificate was read again')
      } catch (error) {
        logger.warn({ error: messageOf(error) }, 'the renewed certificate cannot be used: the last one stays')
      }
      return credentials
    },
  }
}

function pathsOf({ cert, key, ca }: CommonOptions): Paths {
  if (cert !== undefined && key !== undefined && ca !== undefined) return { cert, key, ca }
  const missing = Object.entries({ cert, key, ca }).filter(([, path]) => path === undefined)
  throw new CliError(
    'AMBIENT_E_CLI_USAGE',
    `${missing.map(([name]) => `--${name}`).join(', ')} missing: HBONE peers prove themselves with certificates`,
  )
}

/** @throws CliError USAGE when two options contradict each other. */
export function checkWanted({ peer = [], trustDomain }: Wanted): void {
  const foreign = peer.find(id => trustDomain !== undefined && id.trustDomain !== trustDomain)
  if (foreign !== undefined)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      `--peer ${foreign.uri} is not of --trust-domain ${trustDomain}: give one of the two`,
    )
}

/** What the files hold when they are others than before. */
function read(reader: CredentialFileReader, paths: Paths): Credentials | undefined {
  try {
    return reader.read()
  } catch (cause) {
    const message =
      isAmbientError(cause) && cause.code === 'AMBIENT_E_CREDENTIAL_FILE'
        ? cause.message
        : `${suspectsOf(cause, paths)}: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_CREDENTIALS', message, { cause, layer: 'identity' })
  }
}

/** The files that the problem can be in, with the options that named them. */
function suspectsOf(cause: unknown, { cert, key, ca }: Paths): string {
  const code = isAmbientError(cause) ? cause.code : undefined
  const suspects = [
    ...(code === 'AMBIENT_E_TRUST_BUNDLE' ? [] : [`--cert ${cert}`]),
    ...(code === 'AMBIENT_E_TRUST_BUNDLE' || code === 'AMBIENT_E_CERTIFICATE' ? [] : [`--key ${key}`]),
    ...(code === 'AMBIENT_E_PRIVATE_KEY' || code === 'AMBIENT_E_CERTIFICATE' ? [] : [`--ca ${ca}`]),
  ]
  return suspects.join(', ')
}

/** Whom the command line says to believe. */
function judging(own: Credentials, wanted: Wanted): Credentials {
  return wanted.peer === undefined && wanted.trustDomain === undefined
    ? believing(own)
    : expecting(own, wanted)
}

/** Any identity of our own trust domain, whichever role asks. */
function believing(own: Credentials): Credentials {
  return withVerdict(own, (chain, _asked, at) => own.verifyPeer(chain, { kind: 'own-trust-domain' }, at))
}

/** The named peers, or any of the named trust domain. */
function expecting(own: Credentials, { peer = [], trustDomain, revocations }: Wanted): Credentials {
  const domains = peer.length > 0 ? [...new Set(peer.map(id => id.trustDomain))] : [trustDomain ?? '']
  const judge = (chain: readonly Uint8Array[], domain: string, now: number): PeerVerdict =>
    verifyPeerChain({
      chain,
      trustBundle: own.trustBundle,
      ownTrustDomain: domain,
      expect: peer.length > 0 ? { kind: 'one-of', ids: peer } : { kind: 'own-trust-domain' },
      now,
      ...(revocations === undefined ? {} : { revocations }),
    })
  return withVerdict(own, (chain, _asked, at = systemClock.now()) => {
    const verdicts = domains.map(domain => judge(chain, domain, at))
    return verdicts.find(({ ok }) => ok) ?? verdicts[0] ?? nobody(own.id)
  })
}

function nobody({ uri }: SpiffeId): PeerVerdict {
  return { ok: false, problem: 'unexpected-identity', reason: `nobody is good enough for ${uri}` }
}

/** The command line says whom to believe, so what the engine asks for does not count. */
export function withVerdict(own: Credentials, verdict: Credentials['verifyPeer']): Credentials {
  return Object.freeze({ ...own, privateKey: () => own.privateKey(), verifyPeer: verdict })
}
