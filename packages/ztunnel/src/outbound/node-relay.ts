/**
 * Rootless mode's network between nodes: connections to workloads of another node are dialled through a plain SOCKS5
 * relay, so that what crosses between nodes can be seen, counted or cut.
 */
import { type Clock, CoreError, type Directory, formatHostPort, systemClock } from '@ambient/core'
import { type Dial, dial as dialDirect } from '@ambient/core/node'
import { HboneError } from '@ambient/hbone'
import { requestSocks, socksReplies } from '@ambient/hbone/socks'
import { defaults } from '../defaults.ts'

export interface NodeRelayOptions {
  readonly relay: { readonly host: string; readonly port: number }
  readonly directory: Directory
  readonly network: string
  /** Our own node: what is placed here is dialled directly. */
  readonly nodeName: string
  readonly dial?: Dial
  readonly clock?: Clock
}

/** A `Dial` that knows which destinations lie on another node. */
export function createRelayDial(options: NodeRelayOptions): Dial {
  const direct = options.dial ?? dialDirect
  return async request => {
    const workload = options.directory.workloadByAddress(options.network, request.host)
    if (workload === undefined || workload.node === '' || workload.node === options.nodeName)
      return direct(request)
    const target = formatHostPort(request.host, request.port)
    const socket = await direct({ ...request, host: options.relay.host, port: options.relay.port })
    const onError = (): void => {}
    const onAbort = (): void => void socket.destroy()
    socket.on('error', onError)
    request.signal?.addEventListener('abort', onAbort)
    try {
      const code = await requestSocks(socket, request, {
        clock: options.clock ?? systemClock,
        timeoutMs: request.timeoutMs ?? defaults.connectTimeoutMs,
      })
      if (code !== socksReplies.succeeded)
        throw failed(target, code === socksReplies.connectionRefused ? 'ECONNREFUSED' : `relay reply ${code}`)
      socket.off('error', onError)
      return socket
    } catch (error) {
      socket.destroy()
      throw request.signal?.aborted === true ? request.signal.reason : translate(target, error)
    } finally {
      request.signal?.removeEventListener('abort', onAbort)
    }
  }
}

function translate(target: string, error: unknown): unknown {
  if (!(error instanceof HboneError)) return error
  if (error.code === 'AMBIENT_E_HBONE_TIMEOUT')
    return new CoreError('AMBIENT_E_CONNECT_TIMEOUT', `connecting to ${target} timed out`, { layer: 'tcp' })
  return failed(target, `the relay between the nodes: ${error.message}`)
}

function failed(target: string, reason: string): CoreError {
  return new CoreError('AMBIENT_E_CONNECT_FAILED', `connecting to ${target} failed: ${reason}`, {
    layer: 'tcp',
  })
}
