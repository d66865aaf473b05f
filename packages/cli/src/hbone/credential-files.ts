/**
 * Credentials from three PEM files that somebody else renews: they are looked at when they are asked for and read again when
 * one of them is another one. A set that cannot be read, or that does not belong together, leaves the last good one.
 */
import { readFileSync, statSync } from 'node:fs'
import {
  type Credentials,
  isAmbientError,
  type Logger,
  messageOf,
  type PeerVerdict,
  type SpiffeId,
  systemClock,
} from '@ambient/core'
import { createCredentials, verifyPeerChain } from '@ambient/identity'
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
type Wanted = Pick<CommonOptions, 'peer' | 'trustDomain'>

/**
 * `restMs`: files that were looked at are as they were for so long; to be given by who asks for each tunnel.
 * @throws CliError USAGE when a file is not named, CREDENTIALS when they cannot be used.
 */
export function openCredentialFiles(options: CommonOptions, logger: Logger, restMs = 0): CredentialFiles {
  const paths = pathsOf(options)
  checkWanted(options)
  let stamp = stampOf(paths)
  let credentials = read(paths, options, 1)
  let lookedAtMs = Number.NEGATIVE_INFINITY
  return {
    current() {
      const nowMs = systemClock.monotonic()
      if (nowMs - lookedAtMs < restMs) return credentials
      lookedAtMs = nowMs
      const now = stampOf(paths)
      if (now === stamp) return credentials
      stamp = now
      try {
        credentials = read(paths, options, credentials.generation + 1)
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

function checkWanted({ peer = [], trustDomain }: Wanted): void {
  const foreign = peer.find(id => trustDomain !== undefined && id.trustDomain !== trustDomain)
  if (foreign !== undefined)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      `--peer ${foreign.uri} is not of --trust-domain ${trustDomain}: give one of the two`,
    )
}

/** Another text as soon as one of the files is another one. */
function stampOf(paths: Paths): string {
  return Object.values(paths)
    .map(path => {
      const stat = statSync(path, { throwIfNoEntry: false, bigint: true })
      return stat === undefined ? 'none' : `${stat.ino}/${stat.mtimeNs}/${stat.size}`
    })
    .join(' ')
}

function read(paths: Paths, wanted: Wanted, generation: number): Credentials {
  const trustBundle = readPem(paths.ca)
  try {
    const own = createCredentials({
      certificateChain: readPem(paths.cert),
      privateKey: readPem(paths.key),
      trustBundle,
      generation,
    })
    return wanted.peer === undefined && wanted.trustDomain === undefined
      ? believing(own)
      : expecting(own, wanted)
  } catch (cause) {
    if (cause instanceof CliError) throw cause
    const message = `${suspectsOf(cause, paths)}: ${messageOf(cause)}`
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

function readPem(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    const message = `${path} cannot be read: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_CREDENTIALS', message, { cause, layer: 'config' })
  }
}

/** Any identity of our own trust domain, whichever role asks. */
function believing(own: Credentials): Credentials {
  return withVerdict(own, chain => own.verifyPeer(chain, { kind: 'own-trust-domain' }))
}

/** The named peers, or any of the named trust domain. */
function expecting(own: Credentials, { peer = [], trustDomain }: Wanted): Credentials {
  const domains = peer.length > 0 ? [...new Set(peer.map(id => id.trustDomain))] : [trustDomain ?? '']
  const judge = (chain: readonly Uint8Array[], domain: string): PeerVerdict =>
    verifyPeerChain({
      chain,
      trustBundle: own.trustBundle,
      ownTrustDomain: domain,
      expect: peer.length > 0 ? { kind: 'one-of', ids: peer } : { kind: 'own-trust-domain' },
      now: systemClock.now(),
    })
  return withVerdict(own, chain => {
    const verdicts = domains.map(domain => judge(chain, domain))
    return verdicts.find(({ ok }) => ok) ?? verdicts[0] ?? nobody(own.id)
  })
}

function nobody({ uri }: SpiffeId): PeerVerdict {
  return { ok: false, problem: 'unexpected-identity', reason: `nobody is good enough for ${uri}` }
}

/** The command line says whom to believe, so what the engine asks for does not count. */
function withVerdict(own: Credentials, verdict: (chain: readonly Uint8Array[]) => PeerVerdict): Credentials {
  return Object.freeze({ ...own, privateKey: () => own.privateKey(), verifyPeer: verdict })
}
