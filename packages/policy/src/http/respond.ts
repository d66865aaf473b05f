/** Answers over Node's HTTP responses. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { MeshAnswer } from './answer.ts'
import type { MeshPeer } from './peer.ts'

export type NodeRequest = (IncomingMessage | Http2ServerRequest) & { peer?: MeshPeer | undefined }
export type NodeResponse = ServerResponse | Http2ServerResponse

/** Ends the response. */
export function answer(response: NodeResponse, { status, headers, body }: MeshAnswer): void {
  response.statusCode = status
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  response.end(body)
}
