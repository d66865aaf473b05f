/** After `101 Switching Protocols`: raw bytes both ways, until both ends are over or one is cut. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ResponseHead, Sent } from './downstream.ts'

/**
 * Keeps what the caller sends before it is known who gets it: a stream with this listener does not flow, whoever resumes
 * it. {@link letGo} ends that.
 */
export function hold(socket: Duplex): void {
  socket.on('readable', ignore)
}

export function letGo(socket: Duplex): void {
  socket.off('readable', ignore)
}

/** Writes the head of a 101 and joins the two streams, which it owns from now on. */
export function switchProtocols(
  socket: Duplex,
  head: ResponseHead,
  upgraded: Duplex,
  upgrade = 'websocket',
): Promise<Sent> {
  const lines = [
    `HTTP/1.1 ${head.status} ${STATUS_CODES[head.status] ?? ''}`,
    'connection: upgrade',
    `upgrade: ${upgrade}`,
  ]
  for (const [name, value] of head.headers) lines.push(`${name}: ${value}`)
  letGo(socket)
  socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  return join(socket, upgraded)
}

/** Bytes both ways; an end goes on as an end, a cut as a cut. */
export async function join(caller: Duplex, upstream: Duplex): Promise<Sent> {
  let isCutByUpstream = false
  let isCutByCaller = false
  const up = oneWay(caller, upstream, () => {
    isCutByCaller = true
    reset(upstream, 'the caller has gone')
  })
  const down = oneWay(upstream, caller, () => {
    isCutByUpstream = !isCutByCaller
    reset(caller, 'the upstream cut the connection')
  })
  const [receivedBytes, bytes] = await Promise.all([up, down])
  const end = isCutByUpstream ? 'upstream' : isCutByCaller ? 'caller' : 'complete'
  return { bytes, receivedBytes, end }
}

/** Cuts a connection so that the other end sees that it was cut. */
export function reset(socket: Duplex, reason: string): void {
  if (socket.destroyed) return
  if ('resetAndDestroy' in socket && typeof socket.resetAndDestroy === 'function') socket.resetAndDestroy()
  else socket.destroy(Object.assign(new Error(reason), { code: 'ECONNRESET' }))
}

/** Resolves with the bytes that passed, when this direction is over. */
function oneWay(from: Duplex, to: Duplex, onCut: () => void): Promise<number> {
  return new Promise(resolve => {
    let bytes = 0
    let isOver = false
    const settle = (): boolean => {
      if (isOver) return false
      isOver = true
      from.off('data', onData).off('end', onEnd).off('close', onClose)
      to.off('drain', onDrain).off('close', onSinkClose)
      resolve(bytes)
      return true
    }
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length
      if (!to.write(chunk)) from.pause()
    }
    const onDrain = (): void => void from.resume()
    const onEnd = (): void => {
      if (settle()) to.end()
    }
    const onClose = (): void => {
      if (settle()) onCut()
    }
    // Nobody takes the bytes any more; the other direction tells why.
    const onSinkClose = (): void => {
      if (settle() && !from.destroyed) from.resume()
    }
    for (const stream of [from, to]) stream.on('error', ignore)
    from.on('end', onEnd).on('close', onClose)
    to.on('drain', onDrain).on('close', onSinkClose)
    if (from.destroyed) onClose()
    else from.on('data', onData).resume()
  })
}

function ignore(): void {}
