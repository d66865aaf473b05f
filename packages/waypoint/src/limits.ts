/** Every limit of this package with its default and its reason. Anything that a peer can make grow has a row here. */

/** Room 10, towards the back ends. */
export const upstreamLimits = Object.freeze({
  hbonePort: 15_008, // where every ztunnel listens for HBONE
  connectMs: 10_000, // a plain TCP connect, as ztunnel's and the mesh's default
  replayBytes: 1_048_576, // Envoy's buffer: a longer request body is sent once only
  maxRequests: 40_000, // exchanges under way, for all: memory's guard, as each holds buffers on both sides
  maxRequestsPerService: 10_000, // one that hangs leaves the others their places
  maxRequestsPerCaller: 5_000, // of one identity: nobody fills a service alone
  maxConcurrentRetries: 1_000, // retries under way: an outage must not multiply the load without end
  maxAbandonedTcp: 1_000, // connections on their way whose caller has gone; beyond, they are taken back with a reset
  tcpConnectAttempts: 3, // no byte has moved yet, so another endpoint may be asked
  idleMs: 60_000, // an unused connection costs both ends memory
  keepAliveMarginMs: 1_000, // what we stop short of the time that a server says it keeps a connection
  maxIdlePerEndpoint: 64, // a burst of callers leaves at most these behind
  maxHeaderBytes: 61_440, // Envoy's 60 KiB, of a response's head
  maxStreamsPerSession: 100, // what most HTTP/2 servers allow
  maxResetsPerSession: 100, // streams that we cut before a session is replaced; servers end one at 500 (Envoy) or 1,000
  maxHeaderPairs: 200, // fields of a response over HTTP/2, twice what a caller may send
  http2WindowBytes: 65_536, // the bound that counts: a stream whose reader has stopped holds this and one read
  http2ConnectionWindowBytes: 6_553_600, // window × streams; bounds nothing: Node gives it back before anybody has read
  http2SessionMegabytes: 32, // Node's measure of a session's memory, both ways; its own 10 is close to one way's windows
  discardBytes: 65_536, // of a response that nobody wants, before its connection is cut instead
  discardMs: 2_000, // likewise, in time
  maxMirrors: 100, // copies under way; further ones are not sent
  mirrorBacklogBytes: 1_048_576, // of a body that a copy's target takes too slowly; then the copy is dropped
  mirrorMs: 15_000, // a copy is given up after this time
  graceMs: 5_000, // `close()` without `graceMs`
})

/** Room 6: how far the news of the control plane may be apart between a caller's ztunnel and us. */
export const hallLimits = Object.freeze({
  departureMs: 5_000, // who left us is served for so long: a caller that has not heard of it is still sent to us
  arrivalMs: 1_000, // who is not behind us may be on the way: the caller has heard of it before we have
})

/** Providers of CUSTOM policies. Their own configuration bounds time and bodies of requests. */
export const extAuthzLimits = Object.freeze({
  bodyMs: 300_000, // for a caller to send what providers are to see; Envoy's advice for a whole request; beyond: 408
  heldBytes: 134_217_728, // of bodies that providers are to see, of all requests together; beyond: 503
  answerBytes: 1_048_576, // of a provider's answer, which is held whole; a longer one counts as none
})

/** Room 8, towards the callers. */
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
  http2WindowBytes: 65_536, // the bound that counts: a stream whose reader has stopped holds this and one read
  http2ConnectionWindowBytes: 6_553_600, // window × streams; bounds nothing: Node gives it back before anybody has read
  graceMs: 5_000, // `close()` without `graceMs`
})

export type HttpLimits = { readonly [Name in keyof typeof httpLimits]: number }
