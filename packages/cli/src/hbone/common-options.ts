/** Options that the HBONE commands share: whose certificate, which peers, how much to say. */
import {
  canonicalIp,
  formatHostPort,
  isLoopback,
  readHostPort,
  readSpiffeId,
  type SpiffeId,
  trustDomainProblem,
} from '@ambient/core'
import { type Command, InvalidArgumentError } from 'commander'

export interface CommonOptions {
  readonly cert?: string
  readonly key?: string
  readonly ca?: string
  readonly peer?: readonly SpiffeId[]
  readonly trustDomain?: string
  readonly verbose?: boolean
}

export interface Place {
  readonly host: string
  readonly port: number
}

export function addCommonOptions(command: Command): Command {
  return command
    .option('--cert <file>', 'our certificate, then its intermediates (PEM)')
    .option('--key <file>', 'its private key (PEM)')
    .option('--ca <file>', 'the certificates that peers are believed by (PEM)')
    .option('--peer <spiffe-id>', 'a peer that is good enough (repeat)', collectPeer)
    .option(
      '--trust-domain <name>',
      'any identity of it is good enough (default: of our certificate)',
      trustDomain,
    )
    .option('-v, --verbose', 'say more on standard error: one line for each tunnel', false)
}

function collectPeer(value: string, previous: readonly SpiffeId[] | undefined): readonly SpiffeId[] {
  const read = readSpiffeId(value)
  if (!read.ok) throw new InvalidArgumentError(`expected a SPIFFE ID: ${read.reason}.`)
  return [...(previous ?? []), read.id]
}

function trustDomain(value: string): string {
  const problem = trustDomainProblem(value)
  if (problem === undefined) return value
  throw new InvalidArgumentError(`expected a trust domain such as cluster.local: ${problem}.`)
}

/** `HOST:PORT` that something is reached at. */
export function place(value: string): Place {
  const read = readHostPort(value)
  if (read.ok) return { host: read.value.host, port: read.value.port }
  throw new InvalidArgumentError(`expected HOST:PORT: ${read.reason}.`)
}

/** `HOST:PORT` to listen on: port 0 is any free one. */
export function listenPlace(value: string): Place {
  if (!/:0+$/.test(value)) return place(value)
  return { ...place(value.replace(/:0+$/, ':1')), port: 0 }
}

export function placeText({ host, port }: Place): string {
  return formatHostPort(host, port)
}

/** Whether only this machine reaches it; of names only `localhost` says so. */
export function isOfThisMachine({ host }: Place): boolean {
  return host === 'localhost' || isLoopback(canonicalIp(host) ?? '')
}
