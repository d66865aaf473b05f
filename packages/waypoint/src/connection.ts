/** A tunnel's facts as core's `Connection`: what policies judge and the ledger records. */
import type { Connection } from '@ambient/core'
import { createTraceparent, traceIdOf } from '@ambient/hbone'
import type { InboundStream } from './stream.ts'

const RANDOM_TRACE = '0'.repeat(32)
const made = new WeakMap<InboundStream, Connection>()

/** One object per tunnel, so that every request inside it shares what is derived from it. */
export function connectionOf(stream: InboundStream): Connection {
  const known = made.get(stream)
  if (known !== undefined) return known
  const { caller, target, destination } = stream
  const connection: Connection = Object.freeze({
    id: traceIdOf(stream.traceparent) ?? traceIdOf(createTraceparent()) ?? RANDOM_TRACE,
    direction: 'inbound',
    source: {
      address: caller.address,
      port: caller.port,
      identity: caller.identity,
      ...(caller.workload === undefined ? {} : { workload: caller.workload }),
    },
    destination: {
      address: destination.address,
      port: destination.port,
      network: '',
      ...(target.kind === 'service' ? { service: target.service } : { workload: target.workload }),
    },
  })
  made.set(stream, connection)
  return connection
}
