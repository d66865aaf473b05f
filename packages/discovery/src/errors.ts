/** The one error class of this package. */
import { AmbientError } from '@ambient/core'

export type DiscoveryErrorCode =
  /** A WDS resource that ztunnel would refuse too. */
  | 'AMBIENT_E_RESOURCE'
  /** A local configuration file is not valid; the message holds every problem with file:line:column. */
  | 'AMBIENT_E_LOCAL_CONFIG'
  /** The address of the control plane is not a URL that we can dial. */
  | 'AMBIENT_E_XDS_ADDRESS'
  /** A stream to the control plane ended; the cause has the gRPC status. */
  | 'AMBIENT_E_XDS_STREAM'
  /** A folder of manifests cannot be read. */
  | 'AMBIENT_E_MANIFESTS'
  /** Used after `close`. */
  | 'AMBIENT_E_CLOSED'

/** Everything that `@ambient/discovery` throws. */
export class DiscoveryError extends AmbientError<DiscoveryErrorCode> {}
