/** Room 6, the waypoint hall: proven tunnels come in, and go to the reading room or to the TCP path, or are refused. */
import type { Socket } from 'node:net'
import {
  type Clock,
  type CredentialsSource,
  type Logger,
  messageOf,
  type SpiffeId,
  workloadIdentityOf,
} from '@ambient/core'
import { duplexChannel } from '@ambient/core/node'
import { createHboneServer, createTunnelSocket, type HboneServer, type TunnelRequest } from '@ambient/hbone'
import { type Belonging, createBelonging, type ListedDirectory } from './belonging.ts'
import { defaults } from './defaults.ts'
import type { ReadingRoom } from './http/room.ts'
import { hallLimits } from './limits.ts'
import { decideServed, type OwnGateway, type ServedAnswer } from './served.ts'
import type { Caller, InboundStream, ServedTarget } from './stream.ts'
import { passTcp, type TcpContext } from './tcp.ts'

export interface HallOptions {
  readonly gateway: OwnGateway
  readonly network: string
  readonly self: SpiffeId
  readonly credentials: CredentialsSource
  readonly directory: ListedDirectory
  readonly room: ReadingRoom
  readonly tcp: TcpContext
  /** A connection failed before its first tunnel, perhaps for the peer's certificate. */
  readonly onPeerRefused: (reporter: 'destination', error: unknown) => void
  readonly clock: Clock
  readonly logger: Logger
}

export interface Hall {
  /** Takes an accepted TCP socket. Never throws. */
  accept(socket: Socket): void
  readonly sessions: number
  readonly tunnels: number
  /** To be called when trust changed; returns how many sessions ended. See `HboneServer.recheck`. */
  recheck(): number
  /** Takes no more sockets, lets tunnels finish for `graceMs`, then cuts them. Idempotent. */
  close(options: { readonly graceMs: number }): Promise<void>
}

export function createHall(options: HallOptions): Hall {
  const { ledger } = options.tcp
  const belonging = createBelonging(options)
  let isRechecking = false
  const server: HboneServer = createHboneServer({
    clock: options.clock,
    logger: options.logger,
    limits: { maxConcurrentStreams: defaults.maxTunnelsPerConnection },
    credentials: () => options.credentials.get(options.self),
    onTunnel: request => handleTunnel(options, belonging, request),
    onFailure: ({ source, error }) => {
      if (!isRechecking) options.onPeerRefused('destination', error)
      options.logger.warn(
        { 'src.addr': `${source.address}:${source.port}`, code: error.code, error: messageOf(error) },
        isRechecking ? 'a session was ended' : 'a connection carried no tunnel',
      )
    },
    onRefused: ({ source, peer, authority, status, reason }) =>
      ledger.refused({ source, identity: peer.id, authority, status, reason }),
  })
  return {
    accept: socket => server.accept(socket),
    get sessions() {
      return server.sessions
    },
    get tunnels() {
      return server.tunnels
    },
    recheck() {
      isRechecking = true
      const ended = server.recheck()
      isRechecking = false
      return ended
    },
    async close({ graceMs }) {
      await server.close({ graceMs })
      belonging.close()
    },
  }
}

/** Answers the request exactly once. Never rejects. */
async function handleTunnel(
  options: HallOptions,
  belonging: Belonging,
  request: TunnelRequest,
): Promise<void> {
  const { tcp } = options
  const { authority, peer } = request
  const answer = await whetherServed(options, belonging, request)
  if (answer.kind === 'refused') {
    const { status, reason } = answer
    tcp.ledger.refused({ source: peer, identity: peer.id, authority, status, reason })
    request.refuse(status)
    return
  }
  const stream: InboundStream = {
    caller: callerOf(options, request),
    target: answer.target,
    authority,
    destination: answer.destination,
    baggage: request.header('baggage'),
    traceparent: request.header('traceparent'),
  }
  if (isOpaque(answer.target)) {
    await passTcp(tcp, stream, {
      gone: request.signal,
      accept: () => request.accept(),
      refuse: status => request.refuse(status),
    })
    return
  }
  await readStream(options, request, stream)
}

/** What is known and not ours is given a moment to become ours. */
async function whetherServed(
  { gateway, directory, network, clock }: HallOptions,
  belonging: Belonging,
  { authority, peer, signal }: TunnelRequest,
): Promise<ServedAnswer> {
  const deadline = clock.monotonic() + hallLimits.arrivalMs
  for (;;) {
    const answer = decideServed({
      authority,
      // An identity that is no workload's sees what is visible to all.
      callerNamespace: workloadIdentityOf(peer.id)?.namespace ?? '',
      gateway,
      directory,
      network,
      leftJustNow: key => belonging.leftJustNow(key),
    })
    if (answer.kind === 'served' || answer.mayArrive !== true) return answer
    if (!(await belonging.news({ signal, forMs: deadline - clock.monotonic() }))) return answer
  }
}

/** The caller is answered first: only what it sends tells what it speaks. */
async function readStream(
  { room, tcp }: HallOptions,
  request: TunnelRequest,
  stream: InboundStream,
): Promise<void> {
  const lease = tcp.drain.hold()
  const { peer } = request
  const socket = createTunnelSocket(request.accept(), {
    remoteAddress: peer.address,
    remotePort: peer.port,
    localAddress: stream.destination.address,
    localPort: stream.destination.port,
    peer: peer.id,
  })
  // Whoever reads the stream handles its errors; one that comes in between is nobody's.
  socket.on('error', () => {})
  try {
    const served = await room.serve(socket, stream)
    if (served.kind === 'http') return
    await passTcp(tcp, stream, {
      accept: () => duplexChannel(served.socket),
      // The answer was 200 already: an end is what Envoy gives as well.
      refuse: () => void served.socket.resume().end(() => served.socket.destroy()),
    })
  } finally {
    lease.release()
  }
}

function callerOf({ directory, network }: HallOptions, { peer }: TunnelRequest): Caller {
  const workload = directory.workloadByAddress(network, peer.address)
  return {
    address: peer.address,
    port: peer.port,
    identity: peer.id,
    ...(workload === undefined ? {} : { workload }),
  }
}

/** Ports that say they are not HTTP: their servers may speak first, so nobody waits for the caller's bytes. */
function isOpaque(target: ServedTarget): boolean {
  return target.kind === 'service' && (target.protocol === 'TCP' || target.protocol === 'TLS')
}
