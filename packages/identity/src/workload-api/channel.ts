/** The gRPC channel to a Workload API: local, without TLS, and each failure said in the words of a file system. */
import { statSync } from 'node:fs'
import { Client, credentials, status } from '@grpc/grpc-js'
import { workloadApiDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { grpcTarget, type WorkloadApiAddress } from './address.ts'

/** Opens nothing yet: the first call dials. A channel is used until it fails; grpc-js waits longer and longer to dial again. */
export function createWorkloadApiChannel(address: WorkloadApiAddress): Client {
  return new Client(grpcTarget(address), credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
    'grpc.max_receive_message_length': workloadApiDefaults.maxMessageBytes,
    // The kernel tells when the other end of a local socket is gone.
    ...(address.kind === 'unix'
      ? {}
      : {
          'grpc.keepalive_time_ms': workloadApiDefaults.keepaliveMs,
          'grpc.keepalive_timeout_ms': workloadApiDefaults.keepaliveTimeoutMs,
        }),
    // A proxy variable of the application is not meant for the agent of its node.
    'grpc.enable_http_proxy': 0,
    'grpc.enable_retries': 0,
    'grpc.enable_channelz': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
  })
}

/** What a call came to, as a caller of this package sees it. */
export function workloadApiError(
  address: WorkloadApiAddress,
  method: string,
  code: status,
  details: string,
  cause?: unknown,
): IdentityError {
  const name = status[code] ?? String(code)
  const why = code === status.UNAVAILABLE ? socketProblem(address) : undefined
  return new IdentityError(
    'AMBIENT_E_WORKLOAD_API',
    `the Workload API ${address.text} answered ${method} with ${name}: ${why ?? details}`,
    { cause, layer: 'identity' },
  )
}

/** Better than `connect ECONNREFUSED`: what lies where the socket should be. */
function socketProblem(address: WorkloadApiAddress): string | undefined {
  if (address.kind !== 'unix') return undefined
  try {
    const stat = statSync(address.path, { throwIfNoEntry: false })
    if (stat === undefined) return 'there is no such socket'
    return stat.isSocket() ? undefined : 'what lies there is not a socket'
  } catch {
    return undefined
  }
}
