/** Bytes that are no request: what Node's parser calls them becomes a status, a line for the caller and a record. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ExchangeOutcome } from './desk.ts'

export interface CodecReply {
  readonly status: number
  readonly detail: string
}

/** `undefined`: the connection broke; there is nobody to answer. */
export function codecReply(error: Error & { readonly code?: string }): CodecReply | undefined {
  const code = error.code ?? ''
  if (code === 'HPE_HEADER_OVERFLOW') return { status: 431, detail: 'request_headers_too_large' }
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW')
    return { status: 413, detail: 'http1.codec_error{chunk_extensions}' }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return { status: 408, detail: 'request_header_timeout' }
  if (code.startsWith('HPE_')) return { status: 400, detail: `http1.codec_error{${code.toLowerCase()}}` }
  return undefined
}

/** The caller has ended in the middle of a request. */
export function isEarlyEnd(error: Error & { readonly code?: string }): boolean {
  return error.code === 'HPE_INVALID_EOF_STATE'
}

/** Written beneath the platform's HTTP, whose state is unknown by now. Ends our direction. */
export function writeCodecReply(socket: Duplex, reply: CodecReply): void {
  const reason = STATUS_CODES[reply.status] ?? ''
  const body = reply.status === 400 ? reason : ''
  const lines = [
    `HTTP/1.1 ${reply.status} ${reason}`,
    ...(body === '' ? [] : ['content-type: text/plain']),
    `content-length: ${body.length}`,
    'connection: close',
    `date: ${new Date().toUTCString()}`,
    'server: istio-envoy',
  ]
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`)
}

export function codecOutcome(reply: CodecReply): ExchangeOutcome {
  return {
    status: reply.status,
    flags: ['DPE'],
    detail: reply.detail,
    receivedBytes: 0,
    sentBytes: 0,
    requestHeadBytes: 0,
    responseHeadBytes: 0,
    responseHeaders: undefined,
    grpcStatus: undefined,
    isComplete: true,
  }
}
