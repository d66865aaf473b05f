/** Makes a place in the mesh for a program that the mesh does not run: a pod without programs. */
import { workloadSpiffeId } from '@ambient/core'
import type { JoinRequest } from '../control/types.ts'
import { proxyPorts } from '../defaults.ts'
import { MeshError } from '../errors.ts'
import { entranceEnvironment } from '../pods/environment.ts'
import { podSuffix, type PodTemplatePlan, templateHash, type WorkloadPlan } from '../pods/plan.ts'
import type { Pod } from '../pods/pod.ts'
import type { PodSet } from '../pods/pod-set.ts'
import { checkJoinRequest } from './join-request.ts'
import { createJoinedWorkload, type JoinedWorkload } from './joined-workload.ts'

export interface JoinHost {
  readonly pods: PodSet
  readonly trustDomain: string
  readonly capture: string
  readonly random: () => number
  /** Of the manifests. */
  readonly namespaces: readonly string[]
  /** Every proxy knows of the place. */
  synced(signal: AbortSignal): Promise<void>
}

const SUFFIX_LENGTH = 5

/**
 * Resolves when the workload can call and be called.
 * @throws MeshError `AMBIENT_E_MESH_OPTIONS`, `AMBIENT_E_MESH_NOT_FOUND`, `AMBIENT_E_MESH_ADDRESSES`; the signal's reason
 */
export async function joinMesh(
  wanted: JoinRequest,
  host: JoinHost,
  signal: AbortSignal,
): Promise<JoinedWorkload> {
  const request = checkJoinRequest(wanted)
  if (!host.namespaces.includes(request.namespace)) {
    const known = host.namespaces.join(', ')
    throw new MeshError(
      'AMBIENT_E_MESH_NOT_FOUND',
      `there is no namespace ${request.namespace}; there are: ${known || 'none'}`,
    )
  }
  const pod = await host.pods.join(planOf(request, host.random), signal)
  try {
    await host.synced(signal)
  } catch (error) {
    await host.pods.leave(pod)
    throw error
  }
  return createJoinedWorkload(factsOf(pod, host), () => host.pods.leave(pod))
}

function planOf(request: JoinRequest, random: () => number): WorkloadPlan {
  const { namespace, serviceAccount, ports = [], labels = {} } = request
  const suffix = Uint8Array.from({ length: SUFFIX_LENGTH }, () => Math.floor(random() * 256))
  const template: PodTemplatePlan = {
    labels,
    annotations: {},
    serviceAccount,
    restart: 'Never',
    graceMs: 0,
    containers: [
      { name: 'joined', argv: [], env: [], ports: ports.map(port => ({ port, protocol: 'TCP' as const })) },
    ],
  }
  const name = request.name ?? `${serviceAccount}-${podSuffix(suffix, SUFFIX_LENGTH)}`
  return { namespace, name, kind: 'Pod', replicas: 1, template, hash: templateHash(template) }
}

function factsOf(
  pod: Pod,
  { trustDomain, capture }: JoinHost,
): Omit<JoinedWorkload, 'connect' | 'agent' | 'leave'> {
  const { name, address, node, enrolled, secret } = pod
  const { namespace, template } = pod.plan
  const { serviceAccount } = template
  return {
    name,
    namespace,
    address,
    node,
    enrolled,
    identity: workloadSpiffeId({ trustDomain, namespace, serviceAccount }).uri,
    environment: {
      ...entranceEnvironment({ name, namespace, address, secret }),
      POD_NAME: name,
      POD_NAMESPACE: namespace,
      POD_SERVICE_ACCOUNT: serviceAccount,
      NODE_OPTIONS: `--import ${capture}`,
    },
    socks: { address, port: proxyPorts.socks, username: `${namespace}/${name}`, password: secret },
  }
}
