/** How tests say who asks whom for what: short forms for people, and the request that they stand for. */
import { quote } from '../yaml/problem.ts'
import type { PolicyRequest, RequestDestination, RequestSource } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect } from '../evaluator/verdict.ts'

/** A request as a test writes it. */
export interface RequestTerms {
  /** `NAMESPACE/ACCOUNT`, a whole `TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, or `plaintext`. */
  readonly from: string | RequestSource
  /** `NAMESPACE/WORKLOAD:PORT`, or a service by its name in DNS, `NAME.NAMESPACE:PORT`. */
  readonly to: string | DestinationTerms
  /** Any of these five makes it an HTTP request. GET when only others are given. */
  readonly method?: string
  /** `:authority`; the name of the service or workload when absent. */
  readonly host?: string
  /** `/` when absent. */
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** The payload of a verified token. */
  readonly jwt?: Readonly<Record<string, unknown>>
  /** Of a TLS connection that passes through. */
  readonly sni?: string
}

/** A destination in full; `namespace` may be left out beside a `service`. */
export interface DestinationTerms extends Partial<Omit<RequestDestination, 'port'>> {
  readonly port: number
}

/** What `NAMESPACE/WORKLOAD:PORT` of tests stands for. */
export interface KnownWorkload {
  readonly labels?: Readonly<Record<string, string>>
  readonly ip?: string
}

/** Takes a mistake; what could not be read is `undefined` then. */
export type Fail = (message: string) => undefined

const PRINCIPAL = /^[^/]+\/ns\/[^/]+\/sa\/[^/]+$/
const ACCOUNT = /^([^/\s]+)\/([^/\s]+)$/
const WORKLOAD = /^([^/\s]+)\/([^/\s:]+):(\d{1,5})$/
const SERVICE = /^([^/\s.:]+)\.([^/\s.:]+)(?:\.svc(?:\.[^/\s:]+)?)?:(\d{1,5})$/
const NAMESPACED = /^([^/\s]+)\/([^/\s]+)$/

/** Who asks. */
export function parseSource(text: string, trustDomain: string, fail: Fail): RequestSource | undefined {
  if (text === 'plaintext') return {}
  const id = text.replace(/^spiffe:\/\//, '')
  if (PRINCIPAL.test(id)) return { principal: id }
  const [, namespace, account] = ACCOUNT.exec(text) ?? []
  if (namespace === undefined || account === undefined)
    return fail(
      `expected NAMESPACE/ACCOUNT, TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT or plaintext, found ${quote(text)}`,
    )
  return { principal: `${trustDomain}/ns/${namespace}/sa/${account}` }
}

/** Who is asked. */
export function parseDestination(
  text: string,
  workloads: ReadonlyMap<string, KnownWorkload>,
  fail: Fail,
): RequestDestination | undefined {
  const [, namespace, workload, port] = WORKLOAD.exec(text) ?? []
  if (namespace !== undefined && workload !== undefined && isPort(port)) {
    const known = workloads.get(`${namespace}/${workload}`)
    return { namespace, workload, ...known, port: Number(port) }
  }
  const [, service, home, servicePort] = SERVICE.exec(text) ?? []
  if (service !== undefined && home !== undefined && isPort(servicePort))
    return { namespace: home, service: `${home}/${service}`, port: Number(servicePort) }
  return fail(`expected NAMESPACE/WORKLOAD:PORT or, for a service, NAME.NAMESPACE:PORT, found ${quote(text)}`)
}

/** A destination that was written in full; a service alone says the namespace. */
export function completeDestination(terms: DestinationTerms, fail: Fail): RequestDestination | undefined {
  const { service, port } = terms
  const home = service === undefined ? undefined : NAMESPACED.exec(service)?.[1]
  if (service !== undefined && home === undefined)
    return fail(`service: expected NAMESPACE/NAME, found ${quote(service)}`)
  const namespace = terms.namespace ?? home
  if (namespace === undefined) return fail('expected a namespace, or a service to take it from')
  if (!isPort(String(port))) return fail(`port: expected a port from 0 to 65535, found ${quote(port)}`)
  return { ...terms, namespace }
}

/** `waypoint shop/waypoint`, `gateway ingress/public`, `workload shop/web`. */
export function parseEnforcer(text: string, fail: Fail): Enforcer | undefined {
  const [, kind, namespace, name] = /^(workload|waypoint|gateway) ([^/\s]+)\/([^/\s]+)$/.exec(text) ?? []
  if ((kind === 'workload' || kind === 'waypoint' || kind === 'gateway') && namespace !== undefined && name)
    return { kind, namespace, name }
  return fail(
    `expected "waypoint NAMESPACE/NAME", "gateway NAMESPACE/NAME" or "workload NAMESPACE/NAME", found ${quote(text)}`,
  )
}

/** The request that terms stand for, with source and destination in full. */
export function requestOf(
  source: RequestSource,
  destination: RequestDestination,
  terms: Omit<RequestTerms, 'from' | 'to'>,
): PolicyRequest {
  const { method, host, path, headers, jwt, sni } = terms
  const isHttp = [method, host, path, headers, jwt].some(term => term !== undefined)
  const http = {
    method: method ?? 'GET',
    authority: host ?? hostOf(destination),
    path: path ?? '/',
    ...(headers === undefined ? {} : { headers }),
  }
  return {
    source,
    destination,
    ...(isHttp ? { http } : {}),
    ...(jwt === undefined ? {} : { jwt: { payload: jwt } }),
    ...(sni === undefined ? {} : { sni }),
  }
}

/** Who decides when a test does not say: the waypoint of a service, the ztunnel of a workload. */
export function usualDialect({ destination, http }: PolicyRequest): PolicyDialect {
  if (destination.service === undefined) return 'ztunnel'
  return http === undefined ? 'envoy-tcp' : 'envoy-http'
}

function hostOf({ namespace, workload, service }: RequestDestination): string {
  const name = service?.split('/')[1] ?? workload
  return name === undefined ? namespace : `${name}.${namespace}`
}

function isPort(text: string | undefined): boolean {
  return text !== undefined && /^\d{1,5}$/.test(text) && Number(text) <= 65_535
}
