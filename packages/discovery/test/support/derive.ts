/** A mesh from manifests and running pods, with everything of no interest filled in. */
import { expect } from 'vitest'
import {
  type AmbientState,
  type DeriveInput,
  deriveAmbient,
  formatProblems,
  type PodStatus,
  readManifests,
  type Resources,
} from '../../src/index.ts'

export function podStatus(over: Partial<PodStatus> = {}): PodStatus {
  return {
    name: 'web-1',
    namespace: 'shop',
    labels: { app: 'web' },
    serviceAccount: 'web',
    node: 'node-a',
    ip: '10.0.0.1',
    ready: true,
    containerPorts: [],
    enrolled: true,
    ...over,
  }
}

/** Of documents that are without errors, whatever they warn of. */
export function resourcesOf(...documents: string[]): Resources {
  const { resources, problems } = readManifests([{ path: 'a.yaml', text: documents.join('\n---\n') }])
  expect(formatProblems(problems.filter(({ severity }) => severity === 'error'))).toBe('')
  return resources
}

export function derive(documents: readonly string[], over: Partial<DeriveInput> = {}): AmbientState {
  return deriveAmbient({ ...inputDefaults, resources: resourcesOf(...documents), ...over })
}

/** Of documents that refer to what is not there: a mesh may have been told so before somebody looked. */
export function deriveBroken(documents: readonly string[], over: Partial<DeriveInput> = {}): AmbientState {
  const { resources } = readManifests([{ path: 'a.yaml', text: documents.join('\n---\n') }])
  return deriveAmbient({ ...inputDefaults, resources, ...over })
}

export const inputDefaults = {
  pods: [podStatus()],
  clusterIps: new Map(),
  trustDomain: 'cluster.local',
  clusterId: 'Kubernetes',
  network: '',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
}

export function namespaceText(name: string, labels = ''): string {
  return `apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name}, labels: { ${labels} } }`
}

export function serviceText(
  name: string,
  over: { labels?: string; namespace?: string; selector?: string } = {},
) {
  const { labels = '', namespace = 'shop', selector = `app: ${name}` } = over
  return `apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${namespace}, labels: { ${labels} } }
spec: { selector: { ${selector} }, ports: [{ name: http, port: 80 }] }`
}

export interface GatewayText {
  readonly namespace?: string
  readonly labels?: string
  readonly annotations?: string
  /** Of the listener. */
  readonly allowedRoutes?: string
  readonly className?: string
}

export function gatewayText(name: string, over: GatewayText = {}): string {
  const { namespace = 'shop', labels = '', annotations = '', className = 'istio-waypoint' } = over
  const allowed = over.allowedRoutes === undefined ? '' : `, allowedRoutes: ${over.allowedRoutes}`
  return `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ${name}, namespace: ${namespace}, labels: { ${labels} }, annotations: { ${annotations} } }
spec: { gatewayClassName: ${className}, listeners: [{ name: mesh, port: 15008, protocol: HBONE${allowed} }] }`
}
