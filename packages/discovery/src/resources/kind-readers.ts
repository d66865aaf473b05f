/** A reader for each kind that we act on; each puts what it read, when it is without errors, into its list. */
import {
  type AuthorizationPolicy,
  type PeerAuthentication,
  readAuthorizationPolicy,
  readPeerAuthentication,
  readRequestAuthentication,
  type RequestAuthentication,
  toAuthorization,
  type YamlReader,
} from '@ambient/policy'
import { checkPolicyTargets, checkUseWaypoint } from './check-waypoints.ts'
import { type ReadContext, warnWhenNothingSelected } from './context.ts'
import { readDestinationRule } from './read-destination-rule.ts'
import { oldGatewayNameLabel, readGateway } from './read-gateway.ts'
import { readMeshConfigMap } from './read-mesh-config.ts'
import { readHttpRoute } from './read-http-route.ts'
import { readDeployment, readPod } from './read-pods.ts'
import { readService } from './read-service.ts'
import { readNamespace, readNode, readServiceAccount } from './read-simple.ts'
import { readVirtualService } from './read-virtual-service.ts'
import type { Resources } from './types.ts'

export interface CollectorContext extends ReadContext {
  readonly rootNamespace: string
}

export interface Collector {
  readonly context: CollectorContext
  readonly resources: { readonly [K in keyof Resources]: Resources[K][number][] }
}

export type KindReader = (root: YamlReader, into: Collector) => void

export function createCollector(context: CollectorContext): Collector {
  return {
    context,
    resources: {
      namespaces: [],
      serviceAccounts: [],
      nodes: [],
      meshConfigs: [],
      services: [],
      deployments: [],
      pods: [],
      authorizationPolicies: [],
      peerAuthentications: [],
      requestAuthentications: [],
      gateways: [],
      httpRoutes: [],
      virtualServices: [],
      destinationRules: [],
    },
  }
}

export const kindReaders: ReadonlyMap<string, KindReader> = new Map<string, KindReader>([
  ['Namespace', reader('namespaces', readNamespace)],
  ['ServiceAccount', reader('serviceAccounts', readServiceAccount)],
  ['Node', reader('nodes', readNode)],
  ['ConfigMap', reader('meshConfigs', readMeshConfigMap)],
  ['Service', reader('services', readService)],
  ['Deployment', reader('deployments', readDeployment)],
  ['Pod', reader('pods', readPod)],
  ['AuthorizationPolicy', reader('authorizationPolicies', readPolicy)],
  ['PeerAuthentication', reader('peerAuthentications', readPeer)],
  ['RequestAuthentication', reader('requestAuthentications', readRequest)],
  ['Gateway', reader('gateways', readGateway)],
  ['HTTPRoute', reader('httpRoutes', readHttpRoute)],
  ['VirtualService', reader('virtualServices', readVirtualService)],
  ['DestinationRule', reader('destinationRules', readDestinationRule)],
])

function reader<K extends keyof Resources>(
  list: K,
  read: (root: YamlReader, context: CollectorContext) => Resources[K][number] | undefined,
): KindReader {
  return (root, { context, resources }) => {
    const before = root.errorCount
    const value = read(root, context)
    if (value === undefined || root.errorCount > before) return
    resources[list].push(value)
    checkUseWaypoint(root, value, context)
  }
}

/** What of a policy ztunnels do not enforce is said where it is written. */
function readPolicy(root: YamlReader, context: CollectorContext): AuthorizationPolicy | undefined {
  const read = readAuthorizationPolicy(root)
  if (read === undefined) return undefined
  const policy = withoutOldSelector(root, read)
  if ((policy.spec.targetRefs?.length ?? 0) > 0) {
    checkPolicyTargets(root, policy, context)
    return policy
  }
  const translation = toAuthorization(policy, { rootNamespace: context.rootNamespace })
  const warnings = translation.kind === 'sent' ? translation.warnings : [translation.reason]
  for (const warning of warnings) root.problem(warning, 'warning')
  checkSelector(root, policy, context)
  return policy
}

/** Before there were targetRefs, the pods of a waypoint were selected. */
function withoutOldSelector(root: YamlReader, policy: AuthorizationPolicy): AuthorizationPolicy {
  const { selector, ...spec } = policy.spec
  const [[label, name] = [], another] = Object.entries(selector?.matchLabels ?? {})
  if (label !== oldGatewayNameLabel || name === undefined || another !== undefined) return policy
  const reader = root.object()?.get('spec')?.object()?.get('selector')
  reader?.problem(
    `${oldGatewayNameLabel} is an older form, read as targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: ${name} }]`,
    'warning',
  )
  return {
    ...policy,
    spec: { ...spec, targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name }] },
  }
}

function readPeer(root: YamlReader, context: CollectorContext): PeerAuthentication | undefined {
  const policy = readPeerAuthentication(root)
  if (policy !== undefined) checkSelector(root, policy, context)
  return policy
}

/** Tokens are looked at by waypoints alone. */
function readRequest(root: YamlReader, context: CollectorContext): RequestAuthentication | undefined {
  const policy = readRequestAuthentication(root)
  if (policy === undefined) return undefined
  if ((policy.spec.targetRefs?.length ?? 0) > 0) checkPolicyTargets(root, policy, context)
  else
    root.problem(
      'without targetRefs nobody enforces it: ztunnels do not look at tokens, waypoints obey policies for their own targets only',
      'warning',
    )
  return policy
}

function checkSelector(
  root: YamlReader,
  { metadata, spec }: AuthorizationPolicy | PeerAuthentication,
  context: CollectorContext,
): void {
  const selector = root.object()?.get('spec')?.object()?.get('selector')
  const labels = spec.selector?.matchLabels ?? {}
  if (selector === undefined || Object.keys(labels).length === 0) return
  const namespace = metadata.namespace === context.rootNamespace ? undefined : metadata.namespace
  warnWhenNothingSelected(context, selector, namespace, labels)
}
