/**
 * Port 15006: plaintext that was meant for our workload. There is no identity, so policy judges address and port only.
 * Without kernel capture the original destination comes in a PROXY header, of which nothing else is believed.
 */
import type { Socket } from 'node:net'
import { canonicalIp, type Connection, formatHostPort, messageOf, type Workload } from '@ambient/core'
import { resetSocket, socketChannel } from '@ambient/core/node'
import { partyOf, workloadIdentity } from '@ambient/core/proxy'
import { createTraceparent, readProxyHeader, traceIdOf } from '@ambient/hbone'
import { defaults } from '../defaults.ts'
import { ZtunnelError } from '../errors.ts'
import { localAddressDestination } from '../outbound/capture/original-destination.ts'
import type { Target } from '../outbound/route.ts'
import type { ConnectionFacts } from '../telemetry/ledger.ts'
import { deliver } from './deliver.ts'
import { guessService } from './target.ts'
import type { InboundContext } from './tunnel.ts'

export interface PassthroughContext extends InboundContext {
  /** Whether the original destination is announced in a PROXY header (rootless shared mode). */
  readonly expectsHeader: boolean
}

/** Owns the socket. Never rejects. */
export async function handlePlaintext(context: PassthroughContext, socket: Socket): Promise<void> {
  socket.on('error', () => {})
  const closed = context.ledger.socketOpened('destination')
  socket.once('close', closed)
  const source = { address: canonicalIp(socket.remoteAddress ?? '') ?? '', port: socket.remotePort ?? 0 }
  const local = localAddressDestination(socket)
  if (local === undefined || source.address === '') return void socket.destroy()
  let destination: Target = local
  // A drain waits for a connection from its first byte on; `deliver` has a lease of its own.
  const lease = context.drain.hold()
  try {
    if (context.expectsHeader) destination = await readDestination(socket, local)
    if (context.illegalPorts.has(destination.port))
      throw new ZtunnelError('AMBIENT_E_NO_ROUTE', 'attempted recursive call to ourselves')
    const workload = await context.workload()
    const delivered = deliver(context, {
      facts: factsOf(context, source, destination, workload),
      target: { kind: 'deliver', hop: destination, announce: undefined, onLoopback: false },
      answer: {
        accept: () => socketChannel(socket),
        denied: () => resetSocket(socket),
        unreachable: () => resetSocket(socket),
      },
    })
    lease.release()
    await delivered
  } catch (error) {
    context.ledger.refused({ source, destination, direction: 'inbound', error: messageOf(error) })
    resetSocket(socket)
  } finally {
    lease.release()
  }
}

/** What the header announces, which has to be our own workload: this is no open relay. */
async function readDestination(socket: Socket, local: Target): Promise<Target> {
  const refused = (reason: string): ZtunnelError =>
    new ZtunnelError('AMBIENT_E_PROXY_PROTOCOL', reason, { layer: 'tcp' })
  const { addresses } = await readProxyHeader(socket, { timeoutMs: defaults.handshakeTimeoutMs })
  if (addresses?.transport !== 'tcp') throw refused('the PROXY protocol header names no TCP destination')
  const { destination } = addresses
  if (destination.address !== local.address)
    throw refused(`ip mismatch: ${local.address} != ${destination.address}`)
  return destination
}

function factsOf(
  context: PassthroughContext,
  source: Target,
  destination: Target,
  workload: Workload,
): ConnectionFacts {
  const { directory, network, trustDomain } = context
  const sourceWorkload = directory.workloadByAddress(network, source.address)
  const service = guessService({ workload, directory, port: destination.port, forwardedHost: undefined })
  const connection: Connection = {
    id: traceIdOf(createTraceparent()) ?? '',
    direction: 'inbound',
    source: { ...source, ...(sourceWorkload === undefined ? {} : { workload: sourceWorkload }) },
    destination: { ...destination, network, workload, ...(service === undefined ? {} : { service }) },
  }
  return {
    connection,
    source: partyOf({ workload: sourceWorkload }),
    destination: partyOf({ workload, principal: workloadIdentity(workload, trustDomain) }),
    securityPolicy: 'unknown',
    nextHop: formatHostPort(destination.address, destination.port),
  }
}
