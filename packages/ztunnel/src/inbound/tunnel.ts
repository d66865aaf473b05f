/** Room 11 for HBONE: from a CONNECT whose peer is proven to a delivery, or to the status that refuses it. */
import { type Connection, type Directory, formatHostPort, messageOf, type Workload } from '@ambient/core'
import { partyOf, workloadIdentity } from '@ambient/core/proxy'
import {
  type Baggage,
  createTraceparent,
  type HeaderList,
  headerValues,
  isFromOtherNetwork,
  parseBaggage,
  parseForwardedHost,
  traceIdOf,
  type TunnelRequest,
} from '@ambient/hbone'
import type { ConnectionFacts } from '../telemetry/ledger.ts'
import { workloadBaggage } from '../baggage.ts'
import { deliver, type DeliveryContext } from './deliver.ts'
import { decideTarget, guessService, type InboundTarget } from './target.ts'

export interface InboundContext extends DeliveryContext {
  /** The workload that we act for; waits for discovery, and rejects when it stays unknown. */
  workload(): Promise<Workload>
  readonly directory: Directory
  readonly network: string
  readonly trustDomain: string
  readonly illegalPorts: ReadonlySet<number>
  readonly responseBaggage: boolean
}

const RANDOM_TRACE = '0'.repeat(32)

/** Answers the request exactly once. Never rejects. */
export async function handleTunnel(context: InboundContext, request: TunnelRequest): Promise<void> {
  const refuse = (status: number, error: string): void => {
    context.ledger.refused({
      source: request.peer,
      destination: request.local,
      direction: 'inbound',
      error,
    })
    request.refuse(status)
  }
  try {
    await answerTunnel(context, request, await context.workload(), refuse)
  } catch (error) {
    refuse(503, messageOf(error))
  }
}

async function answerTunnel(
  context: InboundContext,
  request: TunnelRequest,
  workload: Workload,
  refuse: (status: number, error: string) => void,
): Promise<void> {
  const target = decideTarget({
    authority: request.authority,
    connected: request.local,
    workload,
    directory: context.directory,
    network: context.network,
    illegalPorts: context.illegalPorts,
  })
  if (target.kind === 'refuse') return refuse(target.status, target.reason)
  await deliver(context, {
    facts: factsOf(context, request, workload, target),
    target,
    gone: request.signal,
    answer: {
      accept: () => request.accept(context.responseBaggage ? responseHeaders(workload) : []),
      denied: () => request.refuse(401),
      unreachable: () => request.refuse(503),
    },
  })
}

function factsOf(
  context: InboundContext,
  request: TunnelRequest,
  workload: Workload,
  target: Extract<InboundTarget, { kind: 'deliver' }>,
): ConnectionFacts {
  const { directory, network, trustDomain } = context
  const { peer } = request
  const baggage = context.responseBaggage ? baggageOf(request) : undefined
  const viaGateway = isFromOtherNetwork(request.headers, network)
  const sourceWorkload = viaGateway ? undefined : directory.workloadByAddress(network, peer.address)
  const service = guessService({
    workload,
    directory,
    port: target.hop.port,
    forwardedHost: parseForwardedHost(firstOf(request, 'forwarded')),
  })
  const connection: Connection = {
    id: traceIdOf(firstOf(request, 'traceparent')) ?? traceIdOf(createTraceparent()) ?? RANDOM_TRACE,
    direction: 'inbound',
    source: {
      address: peer.address,
      port: peer.port,
      identity: peer.id,
      ...(sourceWorkload === undefined ? {} : { workload: sourceWorkload }),
    },
    destination: { ...target.hop, network, workload, ...(service === undefined ? {} : { service }) },
  }
  const identity = workloadIdentity(workload, trustDomain)
  return {
    connection,
    source: partyOf({ workload: sourceWorkload, baggage, principal: peer.id }),
    destination: partyOf({ workload, principal: identity }),
    securityPolicy: 'mutual_tls',
    sourceIdentity: peer.id,
    destinationIdentity: identity,
    nextHop: formatHostPort(request.local.address, request.local.port),
    tunnelTarget: formatHostPort(target.hop.address, target.hop.port),
  }
}

function baggageOf(request: TunnelRequest): Baggage | undefined {
  const value = request.header('baggage')
  return value === undefined || value === '' ? undefined : parseBaggage([value])
}

/** Of repeated ones the first is read, as ztunnel does. */
function firstOf(request: TunnelRequest, name: string): string | undefined {
  return headerValues(request.headers, name)[0]
}

function responseHeaders(workload: Workload): HeaderList {
  return [['baggage', workloadBaggage(workload)]]
}
