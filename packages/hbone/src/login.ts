/** Asks somebody else's code whether a client may come in, and does not let that one hold the client for ever. */
import type { Socket } from 'node:net'
import type { Clock } from '@ambient/core'
import type { CheckLogin } from './entrance.ts'
import { HboneError } from './errors.ts'

export interface LoginQuestion {
  readonly username: string
  readonly password: string
  /** Of the client who waits for the verdict. */
  readonly socket: Socket
  readonly timeoutMs: number
  readonly clock: Clock
}

/**
 * The verdict of `check`. What it says after all, later, is not listened to.
 * @throws HboneError `AMBIENT_E_LOGIN_CHECK` when it fails or says nothing in time, with its error as the cause, of which the
 *   message says nothing: clients read that; `AMBIENT_E_CLOSED` when the client leaves.
 */
export function askLogin(check: CheckLogin, question: LoginQuestion): Promise<boolean> {
  const { username, password, socket, timeoutMs, clock } = question
  return new Promise((resolve, reject) => {
    const onClose = (): void =>
      settle(() =>
        reject(new HboneError('AMBIENT_E_CLOSED', 'the client left during the check of its login')),
      )
    const timer = clock.after(timeoutMs, () =>
      settle(() => reject(loginError(`got no verdict within ${timeoutMs} ms`))),
    )
    const settle = (tell: () => void): void => {
      timer.cancel()
      socket.off('close', onClose)
      tell()
    }
    socket.once('close', onClose)
    if (socket.destroyed) return onClose()
    ask(check, username, password).then(
      isRight => settle(() => resolve(isRight)),
      (cause: unknown) => settle(() => reject(loginError('failed', cause))),
    )
  })
}

/** A check that throws is one that rejects. */
async function ask(check: CheckLogin, username: string, password: string): Promise<boolean> {
  return check(username, password)
}

function loginError(how: string, cause?: unknown): HboneError {
  return new HboneError('AMBIENT_E_LOGIN_CHECK', `the check of the user name and the password ${how}`, {
    cause,
    layer: 'tcp',
  })
}
