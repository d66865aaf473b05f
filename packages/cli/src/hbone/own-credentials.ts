/** Who a command is and whom it believes: by three PEM files, or by a SPIFFE Workload API. */
import { type Credentials, isAmbientError, type Logger, messageOf, type PeerExpectation } from '@ambient/core'
import { createWorkloadApiSource, type WorkloadApiSource } from '@ambient/identity'
import type { Command } from 'commander'
import { CliError } from '../errors.ts'
import type { CommonOptions } from './common-options.ts'
import { checkWanted, openCredentialFiles, withVerdict } from './credential-files.ts'

export interface OwnOptions extends CommonOptions {
  readonly workloadApi?: string
}

export interface OwnCredentials {
  /** As they are now; rejects while there are none that are valid. */
  current(): Credentials | Promise<Credentials>
  /** Calls back when what is believed may be less than before. Returns the function that ends it. */
  onChange(listener: () => void): () => void
  /** Idempotent. */
  close(): Promise<void>
}

export function addWorkloadApiOption(command: Command): Command {
  return command.option(
    '--workload-api <address>',
    'certificate, key and CA from a SPIFFE Workload API: unix:///PATH or tcp://IP:PORT',
  )
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
  const { workloadApi } = options
  if (workloadApi !== undefined) return openWorkloadApi(workloadApi, options, logger)
  const files = openCredentialFiles(options, logger, restMs)
  return { current: () => files.current(), onChange: () => () => {}, close: async () => {} }
}

async function openWorkloadApi(
  address: string,
  options: OwnOptions,
  logger: Logger,
): Promise<OwnCredentials> {
  const { cert, key, ca } = options
  const both = Object.entries({ cert, key, ca }).filter(([, path]) => path !== undefined)
  if (both.length > 0)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      `--workload-api gives what ${both.map(([name]) => `--${name}`).join(', ')} would: give one of the two`,
    )
  checkWanted(options)
  const source = sourceAt(address, logger)
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

function sourceAt(address: string, logger: Logger): WorkloadApiSource {
  try {
    return createWorkloadApiSource({ address, logger })
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
