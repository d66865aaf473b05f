/**
 * Rootless mode's network between nodes: connections to workloads of another node are dialled through a plain SOCKS5
 * relay, so that what crosses between nodes can be seen, counted or cut.
 */
import { type Clock, CoreError, type Directory, formatHostPort, systemClock } from '@ambient/core'
import { type Dial, dial as dialDirect } from '@ambient/core/node'
import { defaults } from '../defaults.ts'
import { readFirstBytes } from '../first-bytes.ts'
import { formatRequest, methods, parseReply, replies, VERSION } from './capture/socks5-codec.ts'

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
      // One flight: the relay asks for no authentication, so nothing has to be awaited between the two messages.
      socket.write(
        Buffer.concat([
          Buffer.from([VERSION, 1, methods.none]),
          formatRequest({ host: request.host, port: request.port }),
        ]),
      )
      const code = await readFirstBytes(socket, {
        parse: bytes => {
          if (bytes.length < 2) return { kind: 'more' }
          const reply = parseReply(bytes.subarray(2))
          return reply.kind === 'done' ? { ...reply, length: reply.length + 2 } : reply
        },
        clock: options.clock ?? systemClock,
        timeoutMs: request.timeoutMs ?? defaults.connectTimeoutMs,
        timeoutError: () =>
          new CoreError('AMBIENT_E_CONNECT_TIMEOUT', `connecting to ${target} timed out`, { layer: 'tcp' }),
        endError: () => failed(target, 'the relay between the nodes closed the connection'),
      })
      if (code !== replies.succeeded)
        throw failed(target, code === replies.connectionRefused ? 'ECONNREFUSED' : `relay reply ${code}`)
      socket.off('error', onError)
      return socket
    } catch (error) {
      socket.destroy()
      throw request.signal?.aborted === true ? request.signal.reason : error
    } finally {
      request.signal?.removeEventListener('abort', onAbort)
    }
  }
}

function failed(target: string, reason: string): CoreError {
  return new CoreError('AMBIENT_E_CONNECT_FAILED', `connecting to ${target} failed: ${reason}`, {
    layer: 'tcp',
  })
}
