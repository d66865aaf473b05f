/** A request in one line, for names of tests and messages. */
import { defaults } from '../defaults.ts'
import type { PolicyRequest, RequestDestination } from '../evaluator/request.ts'

/** `shop/web → shop/db:5432`, `plaintext → web.shop:80 GET /items`. */
export function describeRequest({ source, destination, http, jwt, sni }: PolicyRequest): string {
  const parts = [
    `${describeSource(source.principal, source.remoteIp ?? source.ip)} → ${describeDestination(destination)}`,
    ...(http === undefined ? [] : [http.method, http.path]),
    ...(jwt === undefined ? [] : [`with a token of ${String(jwt.payload['iss'] ?? 'nobody')}`]),
    ...(sni === undefined ? [] : [`for ${sni}`]),
  ]
  return parts.join(' ')
}

function describeSource(principal: string | undefined, ip: string | undefined): string {
  const from = ip === undefined ? '' : ` from ${ip}`
  if (principal === undefined) return `plaintext${from}`
  const [trustDomain, , namespace, , account] = principal.split('/')
  return `${trustDomain === defaults.trustDomain ? `${namespace}/${account}` : principal}${from}`
}

function describeDestination({ namespace, workload, service, ip, port }: RequestDestination): string {
  const [home, name] = service?.split('/') ?? []
  if (service !== undefined) return `${name}.${home}:${port}`
  return workload === undefined ? `${ip ?? namespace}:${port}` : `${namespace}/${workload}:${port}`
}
