/** Who a command is and whom it believes: by three PEM files, or by a SPIFFE Workload API. */
import { type Credentials, isAmbientError, type Logger, messageOf, type PeerExpectation } from '@ambient/core'
import { createWorkloadApiSource, type Revocations, type WorkloadApiSource } from '@ambient/identity'
import type { Command } from 'commander'
import { CliError } from '../errors.ts'
import type { CommonOptions } from './common-options.ts'
import { checkWanted, openCredentialFiles, withVerdict } from './credential-files.ts'
import { openRevocations } from './revocations.ts'

export interface OwnOptions extends CommonOptions {
  readonly workloadApi?: string
  readonly crl?: string
}

export interface OwnCredentials {
  /** As they are now; rejects while there are none that are valid. */
  current(): Credentials | Promise<Credentials>
  /** Calls back when what is believed may be less than before. Returns the function that ends it. */
  onChange(listener: () => void): () => void
  /** Idempotent. */
  close(): Promise<void>
}

export function addOwnOptions(command: Command): Command {
  return command
    .option(
      '--workload-api <address>',
      'certificate, key and CA from a SPIFFE Workload API: unix:///PATH or tcp://IP:PORT',
    )
    .option('--crl <file>', 'peers that were revoked: lists of certificates (PEM, or one of DER), followed')
}

/** Judges live sessions again whenever less may be believed, and says how many ended. */
export function followTrust(own: OwnCredentials, sessions: { recheck(): number }, logger: Logger): void {
  own.onChange(() => {
    const ended = sessions.recheck()
    if (ended > 0) logger.warn({ sessions: ended }, 'sessions ended, their peers are no longer believed')
  })
}

/**
 * With a first certificate. `restMs` is for files alone, as they have it.
 * @throws CliError USAGE when it is not said whence, CREDENTIALS when there are none.
 */
export async function openOwnCredentials(
  options: OwnOptions,
  logger: Logger,
  restMs = 0,
): Promise<OwnCredentials> {
  const crl = options.crl === undefined ? undefined : await openRevocations(options.crl, logger)
  try {
    const own = await openBelow(options, logger, { restMs, revocations: crl?.revocations })
    return {
      current: () => own.current(),
      onChange(listener) {
        const ends = [own.onChange(listener), crl?.watch(listener)]
        return () => {
          for (const end of ends) end?.()
        }
      },
      async close() {
        await own.close()
        await crl?.close()
      },
    }
  } catch (error) {
    await crl?.close()
    throw error
  }
}

interface Below {
  readonly restMs: number
  readonly revocations: Revocations | undefined
}

async function openBelow(options: OwnOptions, logger: Logger, below: Below): Promise<OwnCredentials> {
  const { workloadApi } = options
  if (workloadApi !== undefined)
    return openWorkloadApi(workloadApi, options, { logger, revocations: below.revocations })
  const files = openCredentialFiles(options, logger, below)
  return { current: () => files.current(), onChange: () => () => {}, close: async () => {} }
}

interface ApiSettings {
  readonly logger: Logger
  readonly revocations: Revocations | undefined
}

async function openWorkloadApi(
  address: string,
  options: OwnOptions,
  settings: ApiSettings,
): Promise<OwnCredentials> {
  const { cert, key, ca } = options
  const both = Object.entries({ cert, key, ca }).filter(([, path]) => path !== undefined)
  if (both.length > 0)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      `--workload-api gives what ${both.map(([name]) => `--${name}`).join(', ')} would: give one of the two`,
    )
  checkWanted(options)
  const source = sourceAt(address, settings)
  try {
    await source.get()
  } catch (cause) {
    await source.close()
    throw new CliError('AMBIENT_E_CLI_CREDENTIALS', `--workload-api: ${messageOf(cause)}`, {
      cause,
      layer: 'identity',
    })
  }
  const judging = judgingAs(wantedOf(options))
  return {
    current() {
      const credentials = source.current()
      return credentials === undefined ? source.get().then(judging) : judging(credentials)
    },
    onChange: listener => source.watch(listener),
    close: () => source.close(),
  }
}

function sourceAt(address: string, { logger, revocations }: ApiSettings): WorkloadApiSource {
  try {
    return createWorkloadApiSource({
      address,
      logger,
      ...(revocations === undefined ? {} : { revocations }),
    })
  } catch (cause) {
    if (!isAmbientError(cause)) throw cause
    throw new CliError('AMBIENT_E_CLI_USAGE', `--workload-api: ${cause.message}`, { cause, layer: 'config' })
  }
}

function wantedOf({ peer, trustDomain }: CommonOptions): PeerExpectation {
  if (peer !== undefined) return { kind: 'one-of', ids: peer }
  return trustDomain === undefined ? { kind: 'own-trust-domain' } : { kind: 'member-of', trustDomain }
}

/** One object for each generation, as the engine's contexts and sessions need it. */
function judgingAs(wanted: PeerExpectation): (own: Credentials) => Credentials {
  const known = new WeakMap<Credentials, Credentials>()
  return own => {
    const judging =
      known.get(own) ?? withVerdict(own, (chain, _asked, at) => own.verifyPeer(chain, wanted, at))
    known.set(own, judging)
    return judging
  }
}
