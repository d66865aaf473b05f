/** Every limit of the reading room with its default and its reason. Anything that a caller can make grow has a row here. */

export const httpLimits = Object.freeze({
  sniffBytes: 16_384, // bytes in which a request line must end, where the port does not say that it speaks HTTP
  headerBytes: 61_440, // Envoy's 60 KiB, of a request's head; beyond: 431
  headerFields: 100, // Envoy's; beyond: 431
  headMs: 60_000, // from a request's first byte to the end of its head; Envoy's is off, slow ones would hold memory
  idleMs: 3_600_000, // Envoy's: an HTTP connection without requests
  pipelinedRequests: 1_024, // read ahead and waiting for their turn; a caller with more is cut
  halfCloseMs: 2_000, // a caller who ended its direction still gets its answer, if that begins in this time
  drainBytes: 1_048_576, // of a request body that nobody wants, before the connection is cut instead
  drainMs: 1_000, // likewise, in time; Envoy's delayed close
  drainIdleMs: 1_000, // while draining, a connection without requests for this long is closed
  http2Streams: 100, // at once on one HTTP/2 connection, as an Envoy waypoint
  http2WindowBytes: 1_048_576, // a stream whose reader has stopped costs at most this
  http2ConnectionWindowBytes: 4_194_304, // likewise, all streams of a connection
  graceMs: 5_000, // `close()` without `graceMs`
})

export type HttpLimits = { readonly [Name in keyof typeof httpLimits]: number }
