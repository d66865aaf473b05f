/** Which workload calls, proven by a secret that only its own processes were given (rootless shared mode). */
import { timingSafeEqual, createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { type Logger, messageOf } from '@ambient/core'

/** Longer than any secret that fits RFC 1929. */
const MAX_SECRET_BYTES = 256
const GROUP_AND_OTHERS = 0o077

export interface SecretQuestion {
  readonly directory: string
  readonly namespace: string
  readonly name: string
  readonly username: string
  readonly password: string
  readonly logger: Logger
}

/**
 * Whether the user is `NAMESPACE/NAME` of this workload and the password is what its file `NAMESPACE.NAME` holds. The
 * file is read each time, so that a secret that was replaced or removed counts at once. A file that others may read
 * proves nothing and is refused.
 */
export async function checkSecret(question: SecretQuestion): Promise<boolean> {
  const { namespace, name, username, password } = question
  if (username !== `${namespace}/${name}` || password === '') return false
  const secret = await readSecret(join(question.directory, `${namespace}.${name}`), question.logger)
  return secret !== undefined && timingSafeEqual(digest(secret), digest(password))
}

async function readSecret(path: string, logger: Logger): Promise<string | undefined> {
  try {
    const file = await open(path, 'r')
    try {
      const { mode } = await file.stat()
      if ((mode & GROUP_AND_OTHERS) !== 0) {
        logger.warn({ path }, 'the secret file is open to others and is not used')
        return undefined
      }
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_SECRET_BYTES), 0, MAX_SECRET_BYTES, 0)
      return buffer.toString('utf8', 0, bytesRead).trim()
    } finally {
      await file.close()
    }
  } catch (error) {
    logger.debug({ path, error: messageOf(error) }, 'no secret for this workload')
    return undefined
  }
}

/** Equal lengths, which the comparison needs. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text, 'utf8').digest()
}
