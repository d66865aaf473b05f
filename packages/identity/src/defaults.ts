/** Every default and limit of this package, with its reason. The README's table is checked against this file. */

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Who may be believed. */
export const verifyLimits = Object.freeze({
  /** Leaf, three intermediates and the root: more than any mesh CA has, small enough to walk for every caller. */
  maxPathLength: 5,
  /** DER bytes of all certificates that a peer presents. */
  maxChainBytes: 64 * 1024,
  /** Clocks of two machines differ; a certificate may be this much younger than our clock. Nothing is added to its end. */
  notBeforeSkewMs: 60 * SECOND,
  /** Signature checks per verdict, so that a bundle of look-alikes cannot be made to cost more. */
  maxSignatureChecks: 64,
  /** Proven paths that are kept for each bundle, about 4 KiB each: every peer of a busy node is among them. */
  maxProvenPaths: 1024,
  /** Bundles whose anchors are kept read: a mesh has one, two while its root changes, and those of its federation. */
  maxKnownBundles: 64,
  /** NIST's floor until 2030. */
  minRsaBits: 2048,
  /** Verification time grows with the square; nobody issues more. */
  maxRsaBits: 8192,
})

/** What the embedded CA gives. */
export const caDefaults = Object.freeze({
  /** Istio's default workload certificate lifetime. */
  defaultTtlMs: 24 * HOUR,
  /** Istio's maximum. Who asks for more gets this, and reads it in the certificate; istiod refuses. */
  maxTtlMs: 90 * DAY,
  /** Istio's self-signed root. */
  rootTtlMs: 3650 * DAY,
  /** Clocks differ: certificates begin in the recent past. */
  backdateMs: 2 * MINUTE,
  /** The largest certificate request that is read. */
  maxRequestBytes: 64 * 1024,
  /** What every peer verifies fastest, and ztunnel asks for. */
  keyType: 'P-256' as const,
  /** Half of the root's: two of them follow one another under one root. */
  intermediateTtlMs: 1825 * DAY,
  /** Keys of which is remembered whose they are, about 150 bytes each: nobody gets a second identity for one of them. */
  maxKnownKeys: 65_536,
  /** Certificates asked for at once from which on a thread of its own signs them; it costs 60 ms and 10 MB. */
  threadFrom: 4,
  /** A thread with nothing to sign for this long ends. */
  threadIdleMs: 30 * SECOND,
})

/** A CA that lives in a folder. */
export const caFileDefaults = Object.freeze({
  /** Whose certificates may still be renewed: more rotations within the life of a leaf are none that waited for it. */
  maxFormerIntermediates: 2,
  /** How long a revocation list counts as fresh; written again by every change and by whoever serves the CA. */
  crlTtlMs: 7 * DAY,
  /** Whoever serves the CA writes its lists again this often. */
  crlRefreshMs: DAY,
  /** Another process that changes the folder is waited for this long; it needs a few milliseconds. */
  lockWaitMs: 5 * SECOND,
  /** Between two looks at a folder that somebody is changing. */
  lockPollMs: 50,
  /** Looks at a folder whose files do not fit together yet: they are replaced one by one. */
  readAttempts: 20,
})

/** How a CA is served. */
export const caServerDefaults = Object.freeze({
  /** A request is a few KiB; the CA itself reads none that is larger than its own limit. */
  maxMessageBytes: 2 * 1024 * 1024,
  /** Calls that are under way take milliseconds. */
  closeGraceMs: 5 * SECOND,
  /** How soon a rotation by another process reaches the server's own certificate while nobody calls. */
  lookMs: 10 * SECOND,
})

/** What callers of a CA may show. */
export const callerLimits = Object.freeze({
  /** A projected token is 1 to 2 KiB. */
  maxTokenBytes: 16 * 1024,
  /** Of an issuer; more is no key set but a flood. */
  maxKeys: 100,
})

/** How the manager keeps certificates fresh. */
export const managerDefaults = Object.freeze({
  /** ztunnel's SECRET_TTL. */
  ttlMs: 24 * HOUR,
  /** ztunnel's number of signing calls at once. */
  maxConcurrent: 8,
  /** A renewal starts at this part of the lifetime. */
  refreshFraction: 0.5,
  /** Spreads the renewals of workloads that started together. */
  refreshJitter: 0.1,
  /** A certificate that is already past its half life is not renewed in a tight loop. */
  minRefreshMs: SECOND,
  /** The first try again after a failure; ztunnel's. */
  retryFirstMs: SECOND,
  /** Each further try waits this many times longer. */
  retryFactor: 2,
  /** ztunnel's ceiling. */
  retryMaxMs: 150 * SECOND,
  /** Spreads the tries of workloads that lost the same CA. */
  retryJitter: 0.2,
  /** Timers look at the wall clock at least this often: it may jump, and machines sleep. */
  recheckMs: 10 * MINUTE,
})

/** How the Istio CA is called. */
export const caClientDefaults = Object.freeze({
  /** One call, connection included. The manager retries. */
  callTimeoutMs: 20 * SECOND,
  /** A CA that accepts and says nothing does not keep the socket. */
  handshakeTimeoutMs: 10 * SECOND,
  /** istiod closes idle connections behind load balancers; as ztunnel. */
  keepaliveMs: 30 * SECOND,
  /** A CA that does not answer a ping for this long is gone. */
  keepaliveTimeoutMs: 10 * SECOND,
  /** A chain with many roots fits; a flood does not. */
  maxResponseBytes: 1024 * 1024,
})

/** How much of a SPIFFE bundle is read. */
export const bundleLimits = Object.freeze({
  /** A bundle of a hundred authorities is a quarter of it. */
  maxDocumentBytes: 1024 * 1024,
  /** Certificates and JWT keys together: rotations need a handful. */
  maxAuthorities: 100,
})

/** When the bundles of other trust domains are asked for. */
export const federationDefaults = Object.freeze({
  /** Where the publisher gives no hint; SPIRE's. */
  refreshMs: 5 * MINUTE,
  /** Hints below it are not followed: a document must not make us a flood. */
  minRefreshMs: MINUTE,
  /** Hints above it are not followed: a root that was taken back must leave. */
  maxRefreshMs: HOUR,
  /** One request, redirects included. */
  requestTimeoutMs: 10 * SECOND,
  /** Two are usual where a name moved. */
  maxRedirects: 3,
  /** The first try again after a failure; doubling up to `refreshMs`. */
  retryFirstMs: SECOND,
  /** Spreads the requests of a fleet that started together. */
  jitter: 0.1,
})

/** How much of a JWT-SVID is read. */
export const jwtLimits = Object.freeze({
  /** As HTTP servers limit their headers. */
  maxTokenBytes: 16 * 1024,
  /** Key IDs are looked up, never parsed; SPIRE's have 32 bytes. */
  maxKeyIdBytes: 1024,
  /** As for certificates: a token may be this much younger than our clock. Nothing is added to its end. */
  notBeforeSkewMs: MINUTE,
})

/** What the embedded JWT authority gives. */
export const jwtDefaults = Object.freeze({
  /** SPIRE's; a bearer token cannot be taken back. */
  ttlMs: 5 * MINUTE,
})

/** How a file of revocation lists is followed. */
export const crlDefaults = Object.freeze({
  /** ztunnel's: after the last change of its folder, so that a file is read once it is whole. */
  debounceMs: 2 * SECOND,
  /** A folder that never rests does not keep a list from being read. */
  maxDebounceMs: 10 * SECOND,
  /** Where the system tells of no changes (network file systems, a folder that was replaced), they are looked for. */
  pollMs: MINUTE,
  /** A hundred thousand entries; a file is read in one turn of the event loop. */
  maxFileBytes: 4 * 1024 * 1024,
})

/** How a source over PEM files follows them. */
export const fileSourceDefaults = Object.freeze({
  /** Where the system tells of no changes (network file systems, a folder that was replaced), they are looked for. */
  recheckMs: 10 * SECOND,
  /** Certificate and key are renewed one after the other; what comes this close together is read once. */
  settleMs: 100,
  /** Files that change while they are read are read again this often; a pair that does not fit is refused anyway. */
  maxReads: 3,
  /** A bundle of a few hundred roots. */
  maxFileBytes: 1024 * 1024,
})

/** How the SPIFFE Workload API is called. */
export const workloadApiDefaults = Object.freeze({
  /** The first try again after a failure. */
  retryFirstMs: SECOND,
  /** Each further try waits this many times longer. */
  retryFactor: 2,
  /** The agent of a node comes back within minutes; nobody waits half a day for it. */
  retryMaxMs: 30 * SECOND,
  /** Spreads the tries of workloads that lost the same agent. */
  retryJitter: 0.2,
  /** A server whose streams end cleanly at once is not asked in a tight loop. */
  minStreamMs: SECOND,
  /** A stream that brings nothing for this long is opened anew; agents answer at once. */
  firstMessageTimeoutMs: 30 * SECOND,
  /** One call for a token or its validation, connection included. */
  callTimeoutMs: 20 * SECOND,
  /** A thousand SVIDs with their bundles; a flood does not fit. */
  maxMessageBytes: 16 * 1024 * 1024,
  /** The specification's. */
  maxHintBytes: 1024,
  /** gRPC servers in Go end connections that are pinged more often than every five minutes. */
  keepaliveMs: 6 * MINUTE,
  /** A server that does not answer a ping for this long is gone. */
  keepaliveTimeoutMs: 20 * SECOND,
  /** Of the identities that are held, in the message that another one is not. */
  maxNamesShown: 8,
})

/** What our own server of the Workload API allows. */
export const workloadApiServerDefaults = Object.freeze({
  /** Its owner alone; a socket for every user of the machine is 0o666, and needs a policy that tells them apart. */
  socketMode: 0o600,
  /** Workloads of one machine, a few connections each. */
  maxConnections: 1024,
  /** Of one user, where that is known: nobody takes the connections of all others. */
  maxConnectionsPerUser: 256,
  /** Streams of one connection: X.509, bundles and JWT bundles, for a few libraries in one process. */
  maxStreams: 16,
  /** A caller who is due an identity that is not there yet is told to come back after this long. */
  firstSvidTimeoutMs: 20 * SECOND,
  /** Requests are a list of audiences or one token. */
  maxRequestBytes: 64 * 1024,
  /** Audiences of one token. */
  maxAudiences: 32,
})

/** TLS for users. */
export const tlsDefaults = Object.freeze({
  /** A server that accepts and says nothing does not keep a client; TCP connection included. */
  handshakeTimeoutMs: 10 * SECOND,
})
