/** Lines of a waypoint's access log as recorded requests: who called, and nothing that a caller wrote there. */
import { describe, expect, it } from 'vitest'
import { readRecorded } from '../src/index.ts'

const CALLER =
  'src.workload="client-1" src.namespace="ui" src.identity="spiffe://cluster.local/ns/ui/sa/a" src.cluster="Kubernetes"'
const WEB = 'dst.service="web.shop.svc.cluster.local"'

/** As a waypoint writes it, with what of it differs. */
function line(
  of: {
    readonly request?: string
    readonly result?: string
    readonly agent?: string
    readonly authority?: string
    readonly local?: string
    readonly route?: string
    readonly parties?: string
  } = {},
): string {
  const { request = 'GET /items/1?q=2 HTTP/1.1', result = '200 - via_upstream', agent = 'curl/8' } = of
  const { authority = 'web:8080', local = '10.96.0.7:80', route = 'default' } = of
  return `[2026-01-02T03:04:05.678Z] "${request}" ${result} - "-" 0 18 2 1 "-" "${agent}" "id-1" "${authority}" "10.0.0.2:8080" inbound-vip|80|http|web.shop.svc.cluster.local - ${local} 10.0.0.1:4711 - ${route} ${of.parties ?? `${CALLER} ${WEB}`}`
}

const recorded = {
  source: { principal: 'cluster.local/ns/ui/sa/a', ip: '10.0.0.1' },
  destination: { namespace: 'shop', service: 'shop/web', ip: '10.96.0.7', port: 80 },
  http: { method: 'GET', authority: 'web:8080', path: '/items/1?q=2' },
}
const read = (text: string) => readRecorded(text, 'waypoint.log')

describe('a line of a waypoint', () => {
  it('is a request, as text and as JSON', () => {
    const json = JSON.stringify({
      start_time: '2026-01-02T03:04:05.678Z',
      method: 'GET',
      path: '/items/1?q=2',
      response_code_details: 'via_upstream',
      authority: 'web:8080',
      connection_termination_details: null,
      downstream_local_address: '10.96.0.7:80',
      downstream_remote_address: '10.0.0.1:4711',
      'src.identity': 'spiffe://cluster.local/ns/ui/sa/a',
      'dst.service': 'web.shop.svc.cluster.local',
    })
    expect(read(`${line()}\n${json}\nwaypoint | ${line()}\n`)).toEqual({
      requests: [recorded, recorded, recorded],
      passedOver: 0,
    })
  })

  it('has what was written, without its escapes, and IPv6 without its brackets', () => {
    const { requests } = read(
      line({ request: 'POST /a\\"b HTTP/2', authority: 'we\\"b', local: '[fd00::7]:80', route: 'to "b" it' }),
    )
    expect(requests[0]).toMatchObject({
      destination: { ip: 'fd00::7' },
      http: { method: 'POST', authority: 'we"b', path: '/a"b' },
    })
  })

  it.each([
    ['a denial', { result: '403 - rbac_access_denied_matched_policy[none]' }],
    ['a provider’s no', { result: '403 UAEX ext_authz_denied' }],
    ['a failure', { result: '503 UF upstream_reset_before_response_started{connection_failure}' }],
    ['no caller, as an Envoy writes it', { parties: '' }],
    ['no service', { parties: `${CALLER} dst.workload="web-1" dst.namespace="shop"` }],
    ['a service that is none of Kubernetes', { parties: `${CALLER} dst.service="api.example.com"` }],
    ['TCP', { request: '- - -', result: '0 - -' }],
  ])('is passed over: %s', (_name, of) => {
    expect(read(line(of))).toEqual({ requests: [], passedOver: 1 })
  })

  it.each([
    ['in its agent', { agent: `x\\" ${WEB.replaceAll('"', '\\"')} src.identity=spiffe://evil`, parties: '' }],
    [
      'in its path',
      { request: 'GET /?src.identity=spiffe://evil&dst.service=a.b.svc.c HTTP/1.1', parties: '' },
    ],
    [
      'in its workload',
      { parties: 'src.workload="a\\" src.identity=\\"spiffe://evil" dst.service="a.b.svc.c"' },
    ],
  ])('says who called only where the waypoint says it: not %s', (_name, of) => {
    expect(read(line(of))).toEqual({ requests: [], passedOver: 1 })
  })
})
