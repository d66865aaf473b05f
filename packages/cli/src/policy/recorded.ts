/** `--recorded`: traffic as it was, in files or on standard input. */
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { messageOf, quoteText } from '@ambient/core'
import { PolicyError, type PolicyRequest, readRecorded } from '@ambient/policy'
import { CliError } from '../errors.ts'
import type { CliHost } from '../host.ts'

/** @throws CliError `AMBIENT_E_CLI_USAGE` for a file that cannot be read, or a line that is no request */
export async function readRecordedFiles(
  paths: readonly string[],
  host: CliHost,
): Promise<readonly PolicyRequest[]> {
  const requests: PolicyRequest[] = []
  for (const path of paths) {
    const { requests: found, passedOver } = await readOne(path, host)
    requests.push(...found)
    if (passedOver > 0)
      host.stderr(
        `note: ${nameOf(path)}: ${passedOver} ${passedOver === 1 ? 'line is' : 'lines are'} no traffic that arrived and was let in\n`,
      )
  }
  return requests
}

/** Of a record without a request: nothing can be said of it. */
export function noTraffic(paths: readonly string[]): string {
  return `--recorded: no traffic in ${paths.map(nameOf).join(', ')}`
}

function nameOf(path: string): string {
  return path === '-' ? 'standard input' : path
}

async function readOne(path: string, host: CliHost): Promise<ReturnType<typeof readRecorded>> {
  const written = await readText(path, host)
  try {
    return readRecorded(written, nameOf(path))
  } catch (cause) {
    if (!(cause instanceof PolicyError)) throw cause
    throw new CliError('AMBIENT_E_CLI_USAGE', `--recorded: ${cause.message}`, { cause })
  }
}

async function readText(path: string, host: CliHost): Promise<string> {
  try {
    return path === '-' ? await text(host.input) : await readFile(path, 'utf8')
  } catch (cause) {
    const message = `--recorded ${quoteText(path)} cannot be read: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_USAGE', message, { cause })
  }
}
