/** `--crl`: what is known of withdrawn certificates, from a file that is read once. */
import { createCrlFile, type Revocations } from '@ambient/identity'
import { badValue } from '../ca/values.ts'

/** `undefined` for no file. @throws CliError `AMBIENT_E_CLI_VALUE` for one that cannot be read */
export async function readRevocations(path: string | undefined): Promise<Revocations | undefined> {
  if (path === undefined) return undefined
  if (path === '') throw badValue('--crl', 'expected a file')
  const file = createCrlFile({ path })
  try {
    await file.ready
    const { state, lists, problem = state } = file.status()
    if (state !== 'in-force') throw badValue('--crl', problem)
    // A proxy waits for lists to come; who asks once gave the wrong file.
    if (lists === 0) throw badValue('--crl', `${path} holds no revocation list`)
    return file.revocations
  } finally {
    // What is known stays known.
    await file.close()
  }
}
