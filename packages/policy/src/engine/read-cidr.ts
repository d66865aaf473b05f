/** A block of addresses of a policy, where it is one. */
import { type Cidr, CoreError, parseCidr } from '@ambient/core'

/** `undefined` for what cannot be read: each dialect knows what becomes of a rule that holds it. */
export function readCidr(text: string): Cidr | undefined {
  try {
    return parseCidr(text)
  } catch (error) {
    if (error instanceof CoreError) return undefined
    throw error
  }
}
