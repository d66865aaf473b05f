/** What a mesh with a waypoint is told over the wire: what ports speak, and the documents of a waypoint. */
import { describe, expect, it } from 'vitest'
import { createConfigStore, encodeService } from '../src/index.ts'
import { decodeAddress } from '../src/wds/address.ts'
import { derive, podStatus } from './support/derive.ts'
import { SHOP, virtualService } from './support/waypoints.ts'

describe('what a port speaks', () => {
  it('survives the wire', () => {
    const service = derive([SHOP]).services.get('shop/api.shop.svc.cluster.local')
    const back = service && decodeAddress(encodeService(service))
    expect(back).toMatchObject({ ok: true, value: { kind: 'service' } })
    if (back?.ok !== true || back.value.kind !== 'service') return
    expect(back.value.service.appProtocols).toEqual(
      new Map([
        [80, 'HTTP11'],
        [5432, 'TCP'],
      ]),
    )
    expect(back.value.service.waypoint).toEqual(service?.waypoint)
  })
})

describe('documents', () => {
  it('of request authentication are those with targets, as they can be read again', () => {
    const policy = (name: string, spec: string): string =>
      `---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`
    const rules = 'jwtRules: [{ issuer: i, timeout: 1.5s, fromHeaders: [{ name: x }] }]'
    const text = `${SHOP}${policy('all', `{ ${rules} }`)}${policy('web', `{ targetRefs: [{ kind: Service, name: web }], ${rules} }`)}`
    const { configuration = new Map() } = derive([text])
    const store = createConfigStore()
    expect(store.replace(configuration)).toEqual([])
    expect(store.requestAuthentications.map(({ metadata, spec }) => [metadata.name, spec])).toEqual([
      [
        'web',
        {
          targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
          jwtRules: [{ issuer: 'i', timeoutMs: 1500, fromHeaders: [{ name: 'x' }] }],
        },
      ],
    ])
  })

  it('are what was written, with the labels of pods, and of policies those with targets', () => {
    const policy = (name: string, spec: string): string =>
      `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`
    const routes = virtualService(
      '  hosts: [web]\n  http:\n    - route: [{ destination: { host: web } }]\n      timeout: 0.5s\n',
    )
    const text = `${SHOP}---\n${routes}${policy('l4', '{}')}${policy('l7', '{ targetRefs: [{ group: "", kind: Service, name: web }] }')}`
    const { configuration } = derive([text], { pods: [podStatus({ labels: { app: 'web', version: 'v1' } })] })
    expect(configuration?.get('networking.istio.io/v1/VirtualService')?.get('shop/web')?.spec).toEqual({
      hosts: ['web'],
      http: [{ route: [{ destination: { host: 'web' } }], timeout: '0.5s' }],
    })
    expect([...(configuration?.get('security.istio.io/v1/AuthorizationPolicy')?.keys() ?? [])]).toEqual([
      'shop/l7',
    ])
    expect(configuration?.get('core/v1/Pod')?.get('shop/web-1')?.metadata.labels).toEqual({
      app: 'web',
      version: 'v1',
    })
    expect([...(configuration?.get('gateway.networking.k8s.io/v1/Gateway')?.keys() ?? [])]).toEqual([
      'shop/waypoint',
    ])
  })
})
