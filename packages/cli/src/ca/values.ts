/** Values of options that are judged by the command itself: a bad one is a failure, not a misunderstood command line. */
import { messageOf, readSpiffeId, type SpiffeId } from '@ambient/core'
import { duration } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { listenPlace, type Place } from '../hbone/common-options.ts'

export function badValue(option: string, message: string): CliError {
  return new CliError('AMBIENT_E_CLI_VALUE', `${option}: ${message}`)
}

/** Milliseconds. */
export function lifetime(option: string, text: string): number {
  const ms = parsed(option, () => duration(text))
  if (ms <= 0) throw badValue(option, 'expected more than nothing')
  return ms
}

export function spiffeId(option: string, text: string): SpiffeId {
  const read = readSpiffeId(text)
  if (!read.ok) throw badValue(option, read.reason)
  return read.id
}

export function listenOn(option: string, text: string): Place {
  return parsed(option, () => listenPlace(text))
}

function parsed<T>(option: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw badValue(option, messageOf(error).replace(/\.$/, ''))
  }
}
