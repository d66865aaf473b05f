/** The one error class of this package. */
import { AmbientError } from '@ambient/core'

export type WaypointErrorCode =
  /** A value of the environment cannot be used, or one is missing; the message names it. */
  | 'AMBIENT_E_CONFIG'
  /** A policy that changed no longer allows the connection. */
  | 'AMBIENT_E_POLICY_CHANGE'
  /** The connection outlived the drain. */
  | 'AMBIENT_E_DRAIN'
  /** Started twice, or used after its end. */
  | 'AMBIENT_E_CLOSED'

export class WaypointError extends AmbientError<WaypointErrorCode> {}
