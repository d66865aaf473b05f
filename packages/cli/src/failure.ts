/** An error as a line for people: the message, its code, and the causes that add something. */
import { isAmbientError, messageOf } from '@ambient/core'

export function describeFailure(error: unknown): string {
  const code = isAmbientError(error) ? ` [${error.code}]` : ''
  return `error: ${messageOf(error)}${code}`
}
