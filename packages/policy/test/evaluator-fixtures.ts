/** Questions to an evaluator in a few words. */
import {
  createEvaluator,
  type Enforcer,
  type EvaluatorDocuments,
  type EvaluatorOptions,
  parsePolicies,
  type PolicyRequest,
  type PolicyVerdict,
  type RequestHttp,
} from '@ambient/policy'

export interface Asked {
  readonly principal?: string | null
  readonly ip?: string
  readonly remoteIp?: string
  readonly to?: Partial<PolicyRequest['destination']>
  readonly http?: Partial<RequestHttp> | null
  readonly jwt?: Readonly<Record<string, unknown>>
  readonly sni?: string
}

/** GET http://web/ from `cluster.local/ns/client/sa/alice` at 10.0.0.1 to `shop/web-1` (app=web), port 80. */
export function ask(of: Asked = {}): PolicyRequest {
  const principal = of.principal === undefined ? 'cluster.local/ns/client/sa/alice' : of.principal
  return {
    source: {
      ip: of.ip ?? '10.0.0.1',
      ...(principal === null ? {} : { principal }),
      ...(of.remoteIp === undefined ? {} : { remoteIp: of.remoteIp }),
    },
    destination: {
      namespace: 'shop',
      workload: 'web-1',
      labels: { app: 'web' },
      ip: '10.0.0.2',
      port: 80,
      ...of.to,
    },
    ...(of.http === null ? {} : { http: { method: 'GET', authority: 'web', path: '/', ...of.http } }),
    ...(of.jwt === undefined ? {} : { jwt: { payload: of.jwt } }),
    ...(of.sni === undefined ? {} : { sni: of.sni }),
  }
}

export const waypoint: Enforcer = {
  kind: 'waypoint',
  namespace: 'shop',
  name: 'waypoint',
  service: 'shop/web',
}
export const sidecar: Enforcer = { kind: 'workload', namespace: 'shop', labels: { app: 'web' } }
export const ingress: Enforcer = {
  kind: 'gateway',
  namespace: 'edge',
  name: 'front',
  labels: { app: 'front' },
}

/** A document of one of the three kinds; `spec` in YAML, indented as it stands. */
export function yaml(kind: string, name: string, spec: string, annotations = ''): string {
  const [namespace = '', own = ''] = name.split('/')
  const lines = spec.split('\n').filter(line => line.trim() !== '')
  const indent = Math.min(...lines.map(line => line.length - line.trimStart().length))
  const body = lines.map(line => `  ${line.slice(indent)}`).join('\n')
  const marked = annotations === '' ? '' : `, annotations: {${annotations}}`
  const head = `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${own}, namespace: ${namespace}${marked}}`
  return lines.length === 0 ? `${head}\nspec: {}\n` : `${head}\nspec:\n${body}\n`
}

export const policy = (name: string, spec: string, annotations?: string): string =>
  yaml('AuthorizationPolicy', name, spec, annotations)
export const peers = (name: string, spec: string): string => yaml('PeerAuthentication', name, spec)
export const tokens = (name: string, spec: string): string => yaml('RequestAuthentication', name, spec)

export const FOR_WEB = 'targetRefs: [{kind: Service, group: "", name: web}]'

export function documents(...texts: readonly string[]): EvaluatorDocuments {
  return parsePolicies(texts.join('---\n'), 'test.yaml')
}

export function decide(
  of: EvaluatorDocuments,
  options: EvaluatorOptions,
  request: PolicyRequest,
  enforcer?: Enforcer,
): PolicyVerdict {
  return createEvaluator(of, options).decide(request, enforcer)
}

/** `allow ALLOW shop/p 0`. */
export function short({ verdict, action, policy: key, rule }: PolicyVerdict): string {
  return `${verdict} ${action} ${key ?? '-'} ${rule ?? '-'}`
}
