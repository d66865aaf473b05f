/** The Gateway that this waypoint is. */
import type { ConfigStore, GatewayResource } from '@ambient/discovery'

/** As the control plane has it now; `undefined` while it is not known. */
export function findGateway(
  store: Pick<ConfigStore, 'gateways'>,
  own: { readonly namespace: string; readonly name: string },
): GatewayResource | undefined {
  return store.gateways.find(
    ({ metadata }) => metadata.namespace === own.namespace && metadata.name === own.name,
  )
}
