/** Rooms 1 to 5 and 13 to 15 of an outbound connection: destination, route, far end, answer, conveyor, one record. */
import type { Socket } from 'node:net'
import {
  type Connection,
  type Directory,
  type Drain,
  type DrainLease,
  formatHostPort,
  messageOf,
  pump,
  type Workload,
} from '@ambient/core'
import { resetSocket, socketChannel } from '@ambient/core/node'
import { partyOf, unknownParty, workloadIdentity } from '@ambient/core/proxy'
import { createTraceparent, headerValues, parseBaggage, traceIdOf } from '@ambient/hbone'
import { type SocksReply, socksReplies } from '@ambient/hbone/socks'
import { createLifeline } from '../lifeline.ts'
import { outcomeOfConnect, outcomeOfPump, replyOfConnect } from '../outcome.ts'
import type { ConnectionFacts, Ledger, LedgerEntry } from '../telemetry/ledger.ts'
import { type ConnectContext, type Connected, connectRoute } from './connect.ts'
import { decideRoute, type Route, type Target } from './route.ts'
import type { Random } from './upstream.ts'

export interface OutboundContext extends ConnectContext {
  /** The workload that calls; waits for discovery, and rejects when it stays unknown. */
  workload(): Promise<Workload>
  readonly directory: Directory
  readonly ledger: Ledger
  /** A peer could not be reached, or was not believed. */
  onConnectFailed(error: unknown): void
  readonly drain: Drain
  readonly random: Random
  readonly hbonePort: number
  readonly illegalPorts: ReadonlySet<number>
  /** Rootless shared mode also serves workloads outside the mesh; their way into it. `undefined`: all are inside. */
  readonly plaintextEntrance: number | undefined
}

export interface OutboundConnection {
  readonly socket: Socket
  readonly source: Target
  readonly destination: Target
  /** Of the context's drain, held since the connection was accepted; released with it. */
  readonly lease?: DrainLease
  /** Tells the client that the far end is there, or which SOCKS5 code says why not. */
  answer?(code: SocksReply): void
}

/** A refused SOCKS5 client is given this long to read its answer and close. */
const LINGER_MS = 1_000

/** Owns the socket: it ends, or is reset, with the connection. Never rejects. */
export async function handleOutbound(
  context: OutboundContext,
  connection: OutboundConnection,
): Promise<void> {
  const lease = connection.lease ?? context.drain.hold()
  try {
    await serve(context, connection, lease)
  } finally {
    lease.release()
  }
}

async function serve(
  context: OutboundContext,
  connection: OutboundConnection,
  lease: DrainLease,
): Promise<void> {
  const refuse = (error: string, code: SocksReply): void => {
    const { source, destination } = connection
    context.ledger.refused({ source, destination, direction: 'outbound', error })
    refuseClient(connection, code)
  }
  let workload: Workload
  try {
    workload = await context.workload()
  } catch (error) {
    return refuse(messageOf(error), socksReplies.generalFailure)
  }
  const isInMesh = context.plaintextEntrance === undefined || workload.protocol === 'HBONE'
  const route = decideRoute({
    source: workload,
    destination: connection.destination,
    directory: context.directory,
    network: context.network,
    trustDomain: context.trustDomain,
    random: context.random,
    hbonePort: context.hbonePort,
    illegalPorts: context.illegalPorts,
    ...(isInMesh ? {} : { plaintextEntrance: context.plaintextEntrance }),
  })
  if (route.kind === 'refused') {
    // Outside the mesh nothing is recorded, as nothing would be on a machine without us.
    if (isInMesh) return refuse(route.reason, socksReplies.hostUnreachable)
    return refuseClient(connection, socksReplies.hostUnreachable)
  }
  const traceparent = createTraceparent()
  const facts = factsOf(context, connection, route, workload, traceIdOf(traceparent) ?? '')
  const open = (known: ConnectionFacts): LedgerEntry =>
    isInMesh ? context.ledger.open(known) : unrecorded(known)
  // Who is behind a gateway is not known before it answers; as in ztunnel, that connection is opened when it has.
  const entry = route.kind === 'gateway' ? undefined : open(facts)
  await carry(context, connection, {
    route,
    workload,
    traceparent,
    lease,
    entry: connected => entry ?? open(connected === undefined ? facts : factsBehind(facts, connected)),
  })
}

async function carry(
  context: OutboundContext,
  connection: OutboundConnection,
  work: {
    readonly route: Exclude<Route, { kind: 'refused' }>
    readonly workload: Workload
    readonly traceparent: string
    /** With what is known by then: `undefined` when the connection was not made. */
    readonly entry: (connected: Connected | undefined) => LedgerEntry
    readonly lease: DrainLease
  },
): Promise<void> {
  const { socket } = connection
  const lifeline = createLifeline(context.drain, work.lease)
  const onClose = (): void =>
    lifeline.cut({ flag: 'CONNECT', error: 'client disconnected before the connection was made' })
  socket.once('close', onClose)
  if (socket.destroyed) onClose()
  try {
    let connected: Connected
    try {
      connected = await connectRoute(context, work.route, {
        source: work.workload,
        client: connection.source,
        traceparent: work.traceparent,
        signal: lifeline.signal,
      })
    } catch (error) {
      context.onConnectFailed(error)
      work.entry(undefined).close(lifeline.outcome ?? outcomeOfConnect(error))
      refuseClient(connection, replyOfConnect(error))
      return
    }
    socket.off('close', onClose)
    connection.answer?.(socksReplies.succeeded)
    const entry = work.entry(connected)
    const result = await pump(socketChannel(socket), connected.channel, {
      signal: lifeline.signal,
      counts: entry.counts,
    })
    entry.close(outcomeOfPump(result, lifeline))
  } finally {
    socket.off('close', onClose)
    lifeline.release()
  }
}

/** A SOCKS5 client gets its answer and an end; a captured one can only be reset. */
function refuseClient(connection: OutboundConnection, code: SocksReply): void {
  const { socket, answer } = connection
  if (socket.destroyed) return
  if (answer === undefined) {
    resetSocket(socket)
    return
  }
  answer.call(connection, code)
  // What the client has sent already is read and dropped: closing over it would reset the answer away.
  socket.resume()
  socket.end()
  socket.setTimeout(LINGER_MS, () => socket.destroy())
}

function factsOf(
  context: OutboundContext,
  { source, destination }: OutboundConnection,
  route: Exclude<Route, { kind: 'refused' }>,
  workload: Workload,
  id: string,
): ConnectionFacts {
  const isTunnel = route.kind === 'tunnel' || route.kind === 'gateway'
  const upstream = route.kind === 'passthrough' ? undefined : route.upstream
  const own = isTunnel ? workloadIdentity(workload, context.trustDomain) : undefined
  const theirs = upstream === undefined ? undefined : workloadIdentity(upstream, context.trustDomain)
  const connection: Connection = {
    id,
    direction: 'outbound',
    source: { ...source, workload, ...(own === undefined ? {} : { identity: own }) },
    destination: {
      ...destination,
      network: context.network,
      ...(upstream === undefined ? {} : { workload: upstream }),
      ...(route.service === undefined ? {} : { service: route.service }),
    },
  }
  return {
    connection,
    source: partyOf({ workload, principal: own }),
    destination: upstream === undefined ? unknownParty : partyOf({ workload: upstream, principal: theirs }),
    securityPolicy: isTunnel ? 'mutual_tls' : 'unknown',
    sourceIdentity: own,
    destinationIdentity: isTunnel ? theirs : undefined,
    nextHop: formatHostPort(route.to.address, route.to.port),
    tunnelTarget: isTunnel ? route.authority : undefined,
  }
}

/** The gateway stays the next hop; the destination is who proved itself behind it, and what it says of itself. */
function factsBehind(facts: ConnectionFacts, { tunnel }: Connected): ConnectionFacts {
  if (tunnel === undefined) return facts
  const { id } = tunnel.peer
  const lines = headerValues(tunnel.responseHeaders, 'baggage')
  const baggage = lines.length === 0 ? undefined : parseBaggage(lines)
  return { ...facts, destination: partyOf({ baggage, principal: id }), destinationIdentity: id }
}

function unrecorded(facts: ConnectionFacts): LedgerEntry {
  return { facts, counts: { aToB: 0, bToA: 0 }, close() {} }
}
