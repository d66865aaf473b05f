/** Destinations of a VirtualService, and names of gateways. */
import type { YamlReader } from '@ambient/policy'
import { checkDestination } from './check-routes.ts'
import type { ReadScope } from './context.ts'
import { readHost } from './hostnames.ts'
import { PORT_RANGE } from './read-values.ts'
import { readHeaderOperations } from './read-traffic.ts'
import { noOperations } from './traffic-types.ts'
import type { VirtualServiceDestination, VirtualServiceRouteDestination } from './virtual-service-types.ts'

const WEIGHT = { min: 0, max: 2 ** 31 - 1 }

/** One gets everything; of several those with weight 0 get nothing, and they cannot all have it. */
export function readDestinations(
  reader: YamlReader,
  scope: ReadScope,
  http: boolean,
): readonly VirtualServiceRouteDestination[] {
  const fields = http ? ['destination', 'weight', 'headers'] : ['destination', 'weight']
  let written = 0
  const destinations = reader.list((item): VirtualServiceRouteDestination | undefined => {
    written++
    const object = item.object(fields)
    const destination = object?.required('destination')
    const read = destination && readDestination(destination, scope)
    const weight = object?.get('weight')?.integer(WEIGHT) ?? 0
    const headers = http ? readHeaderOperations(object?.get('headers')) : noOperations
    return read && { destination: read, weight, headers }
  })
  if (reader.kind === 'list' && written === 0) reader.problem('expected at least one destination, found none')
  const total = destinations.reduce((sum, { weight }) => sum + weight, 0)
  if (written > 1 && destinations.length === written && total === 0)
    reader.problem('the weights of several destinations sum to 0: nothing could go anywhere')
  return destinations
}

export function readDestination(reader: YamlReader, scope: ReadScope): VirtualServiceDestination | undefined {
  const object = reader.object(['host', 'subset', 'port'])
  const host = readHost(object?.required('host'), false)
  const subset = object?.get('subset')?.text()
  const port = object?.get('port')?.object(['number'])?.required('number')?.integer(PORT_RANGE)
  if (object === undefined || host === undefined) return undefined
  const destination = {
    source: reader.position,
    host,
    ...(subset !== undefined && { subset }),
    ...(port !== undefined && { port }),
  }
  checkDestination(object, destination, scope)
  return destination
}

export function readGateways(reader: YamlReader | undefined): readonly string[] | undefined {
  return reader?.list(item => item.text())
}
