/** Who calls a Workload API, as far as this system can say, and policies over that. What is not known never matches. */
import type { SpiffeId } from '@ambient/core'
import { IdentityError } from '../errors.ts'

export interface WorkloadCaller {
  /** The path of the socket through which it came. */
  readonly socket: string
  /**
   * `peer-credentials`: the kernel told who connected (Linux, with `koffi` installed). `socket-folder`: the socket lies in
   * a folder that only this user, and root, may enter. `none`: anybody who may open the socket.
   */
  readonly evidence: 'peer-credentials' | 'socket-folder' | 'none'
  readonly uid?: number
  readonly gid?: number
  /** As it was when it connected: the process may have ended, and its number may be another one's. */
  readonly pid?: number
}

/** An identity that is due to a caller. */
export interface DueIdentity {
  readonly id: SpiffeId
  /** The operator's name for it, where a workload has several. At most 1024 bytes. */
  readonly hint?: string
}

/** Every identity that is due, the default first; none refuses the caller. */
export type AttestWorkload = (
  caller: WorkloadCaller,
) => readonly DueIdentity[] | Promise<readonly DueIdentity[]>

/** All of them have to fit, and a fact that is not known fits nothing. */
export interface WorkloadSelectors {
  readonly uid?: number
  readonly gid?: number
  readonly pid?: number
  readonly socket?: string
}

export interface WorkloadRegistration extends DueIdentity {
  readonly selectors: WorkloadSelectors
}

const FACTS = ['uid', 'gid', 'pid', 'socket'] as const

/**
 * A policy from a list, in its order.
 * @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` for a registration that anybody would fit.
 */
export function attestBySelectors(registrations: readonly WorkloadRegistration[]): AttestWorkload {
  const entries = registrations.map(({ id, hint, selectors }) => {
    const wanted = FACTS.filter(fact => selectors[fact] !== undefined)
    if (wanted.length === 0)
      throw new IdentityError(
        'AMBIENT_E_IDENTITY_OPTION',
        `${id.uri}: a registration without selectors would be everybody's`,
        { layer: 'config' },
      )
    return { due: Object.freeze({ id, ...(hint === undefined ? {} : { hint }) }), selectors, wanted }
  })
  return caller =>
    entries
      .filter(({ selectors, wanted }) =>
        wanted.every(fact => caller[fact] !== undefined && caller[fact] === selectors[fact]),
      )
      .map(({ due }) => due)
}
