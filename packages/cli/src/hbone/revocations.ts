/** `--crl`: what was revoked, from a file that is followed while a command runs. */
import type { Logger } from '@ambient/core'
import { createCrlFile, type CrlFile } from '@ambient/identity'
import { CliError } from '../errors.ts'

/**
 * Lists that are in force. A proxy waits for its first one; who names a file has it, so that a wrong name is no list that
 * refuses nobody. Later ones that cannot be read leave the last good ones.
 * @throws CliError USAGE for an empty name, CREDENTIALS for a file that cannot be read or holds no list.
 */
export async function openRevocations(path: string, logger: Logger): Promise<CrlFile> {
  if (path === '') throw new CliError('AMBIENT_E_CLI_USAGE', '--crl: expected a file')
  // What is wrong at the start is the error's to say.
  let isOpen = false
  const whenOpen =
    (level: 'warn' | 'error'): Logger['warn'] =>
    (fields, message) => {
      if (isOpen) logger[level](fields, message)
    }
  const file = createCrlFile({
    path,
    logger: { ...logger, warn: whenOpen('warn'), error: whenOpen('error') },
  })
  await file.ready
  const { state, lists, problem = state } = file.status()
  if (state === 'in-force' && lists > 0) {
    isOpen = true
    return file
  }
  await file.close()
  const why = state === 'in-force' ? `${path}: no revocation list in it` : problem
  throw new CliError('AMBIENT_E_CLI_CREDENTIALS', `--crl ${why}`, { layer: 'identity' })
}
