/** What a running mesh is made of: put together in order, ended in reverse. */
import { type CertificateAuthority, createCertificateAuthority } from '@ambient/identity'
import type { AddressBlock } from './address/block.ts'
import { assertPortFree, claimBlock } from './address/claim.ts'
import { meshDefaults } from './defaults.ts'
import type { MeshListener } from './events.ts'
import type { ResolvedMeshOptions } from './options.ts'
import { createPodSet, fullName, type PodSet } from './pods/pod-set.ts'
import { type ControlPlane, createControlPlane } from './plane/control-plane.ts'
import { createNodeProxy, type NodeProxy, ztunnelFiles } from './plane/node-proxy.ts'
import { createWaypointSet, type WaypointSet } from './plane/waypoint-set.ts'
import { createSecretFiles, type SecretFiles } from './plane/secret-files.ts'
import { createReaper, type Reaper } from './process/reaper.ts'
import { createRelay, type Relay } from './relay.ts'

export interface Parts {
  readonly block: AddressBlock
  readonly secrets: SecretFiles
  readonly reaper: Reaper
  readonly ca: CertificateAuthority
  readonly pods: PodSet
  readonly controlPlane: ControlPlane
  readonly relay: Relay | undefined
  readonly proxies: readonly NodeProxy[]
  readonly waypoints: WaypointSet
}

export interface PartsHooks {
  readonly emit: MeshListener
  /** The pods are not what was last published. */
  changed(): void
}

type AwaitProxy = (node: string, pod: string, signal: AbortSignal) => Promise<void>

type Building = { -readonly [Name in keyof Parts]?: Parts[Name] }

/**
 * Makes every part; proxies are started, and wait for a first configuration. `made` holds each part as soon as it
 * exists, so that a failure in the middle can be cleaned up with {@link endParts}.
 */
export async function startParts(
  options: ResolvedMeshOptions,
  hooks: PartsHooks,
  made: Building,
): Promise<Parts> {
  const { nodes, random, trustDomain, clock } = options
  const block = await claimBlock({
    nodes: nodes.length,
    random,
    ...(options.block === undefined ? {} : { block: options.block }),
  })
  made.block = block
  const secrets = await createSecretFiles()
  made.secrets = secrets
  const reaper = createReaper(secrets.folder)
  made.reaper = reaper
  const ca = await createCertificateAuthority({ trustDomain, clock })
  made.ca = ca
  // Pods come before the proxies that they wait for: what runs where decides which certificates are signed.
  const awaitProxy: AwaitProxy = async (node, pod, signal) =>
    made.proxies?.find(proxy => proxy.node === node)?.awaitPod(pod, signal)
  const pods = createPods(options, { ...hooks, awaitProxy }, { block, secrets, reaper })
  made.pods = pods
  const controlPlane = createPlane(options, hooks, { block, ca, pods })
  made.controlPlane = controlPlane
  await controlPlane.start()
  const relay = options.relay ? createRelay({ address: block.relay }) : undefined
  made.relay = relay
  await relay?.start()
  const proxies = await createProxies(options, hooks, { block, ca, secrets, reaper, controlPlane, relay })
  made.proxies = proxies
  for (const proxy of proxies) proxy.start()
  const waypoints = createWaypoints(options, hooks, { block, ca, secrets, reaper, controlPlane })
  made.waypoints = waypoints
  return { block, secrets, reaper, ca, pods, controlPlane, relay, proxies, waypoints }
}

/** Pods first, so that their last bytes still have a way; files last. Never rejects for a part that is missing. */
export async function endParts(parts: Partial<Parts>, graceMs: number): Promise<void> {
  await parts.pods?.stop(graceMs)
  await parts.waypoints?.stop(graceMs)
  await Promise.all((parts.proxies ?? []).map(({ program }) => program.stop(graceMs)))
  await parts.relay?.close()
  await parts.controlPlane?.close()
  await parts.reaper?.close()
  await parts.secrets?.remove()
}

function createPods(
  options: ResolvedMeshOptions,
  hooks: PartsHooks & { readonly awaitProxy: AwaitProxy },
  { block, secrets, reaper }: Pick<Parts, 'block' | 'secrets' | 'reaper'>,
): PodSet {
  const { manifests, environment, clock, nodes, random } = options
  return createPodSet({
    folder: manifests,
    capture: ztunnelFiles().capture,
    execPath: process.execPath,
    environment,
    clock,
    reaper,
    nodes,
    random,
    emit: hooks.emit,
    awaitProxy: (pod, signal) => hooks.awaitProxy(pod.node, fullName(pod), signal),
    assertPortFree,
    takeAddress: node => block.takePod(nodes.indexOf(node)),
    releaseAddress: address => block.releasePod(address),
    nodeAddress: node => block.node(nodes.indexOf(node)),
    grantSecret: pod => secrets.grant(pod),
    revokeSecret: pod => secrets.revoke(pod),
    changed: () => hooks.changed(),
  })
}

function createPlane(
  { clusterId, logger }: ResolvedMeshOptions,
  hooks: PartsHooks,
  { block, ca, pods }: Pick<Parts, 'block' | 'ca' | 'pods'>,
): ControlPlane {
  return createControlPlane({
    address: block.controlPlane,
    ca,
    clusterId,
    logger,
    runsOn: (node, namespace, serviceAccount) =>
      pods
        .list()
        .some(
          pod =>
            pod.node === node &&
            pod.plan.namespace === namespace &&
            pod.plan.template.serviceAccount === serviceAccount,
        ),
    onRefused: (node, reason) => hooks.emit({ kind: 'refused', node, reason }),
  })
}

function createWaypoints(
  options: ResolvedMeshOptions,
  hooks: PartsHooks,
  {
    block,
    ca,
    secrets,
    reaper,
    controlPlane,
  }: Pick<Parts, 'block' | 'ca' | 'secrets' | 'reaper' | 'controlPlane'>,
): WaypointSet {
  const { nodes } = options
  return createWaypointSet({
    ...options,
    controlPlaneUrl: controlPlane.url,
    rootPem: ca.rootPem,
    execPath: process.execPath,
    reaper,
    secrets,
    controlPlane,
    emit: hooks.emit,
    changed: () => hooks.changed(),
    settled: () =>
      controlPlane.synced(nodes.length, AbortSignal.timeout(meshDefaults.settleTimeoutMs)).catch(() => {}),
    takeAddress: node => block.takePod(nodes.indexOf(node)),
    releaseAddress: address => block.releasePod(address),
  })
}

async function createProxies(
  options: ResolvedMeshOptions,
  hooks: PartsHooks,
  parts: Pick<Parts, 'block' | 'ca' | 'secrets' | 'reaper' | 'controlPlane' | 'relay'>,
): Promise<readonly NodeProxy[]> {
  const { controlPlane, relay, secrets, reaper } = parts
  const proxies: NodeProxy[] = []
  for (const [index, node] of options.nodes.entries()) {
    const token = controlPlane.issueToken({ kind: 'node', node })
    const files = await secrets.writeNode(node, { token, rootPem: parts.ca.rootPem })
    const proxy = createNodeProxy({
      ...options,
      node,
      files,
      reaper,
      address: parts.block.node(index),
      controlPlaneUrl: controlPlane.url,
      clusterDomain: meshDefaults.clusterDomain,
      network: meshDefaults.network,
      relay: relay === undefined ? undefined : `socks5://${relay.address}:${relay.port}`,
      execPath: process.execPath,
      emit: hooks.emit,
    })
    proxies.push(proxy)
  }
  return proxies
}
