/** Configuration for waypoints: over the real wire, and what a store makes of what it is given. */
import { describe, expect, it } from 'vitest'
import { createConfigStore } from '../src/index.ts'
import type { ConfigDocument } from '../src/index.ts'
import { decodeDocument, encodeDocument } from '../src/configuration/codec.ts'

const VIRTUAL_SERVICE = 'networking.istio.io/v1/VirtualService'

function virtualService(name: string, weight: number): ConfigDocument {
  return {
    metadata: {
      namespace: 'shop',
      name,
      labels: { a: 'b' },
      annotations: {},
      creationTimestamp: 1_700_000_000_000,
    },
    spec: { hosts: [name], http: [{ route: [{ destination: { host: name }, weight }], timeout: '0.5s' }] },
  }
}

describe('a configuration document', () => {
  it('comes back from its bytes as it was', () => {
    const document = virtualService('web', 1)
    expect(decodeDocument(encodeDocument(document))).toEqual({ ok: true, value: document })
  })

  it('that is no document is refused with a reason', () => {
    expect(decodeDocument(new Uint8Array([10, 2, 10, 0]))).toEqual({
      ok: false,
      reason: 'the object has no name of the form namespace/name',
    })
    expect(decodeDocument(new Uint8Array([255, 255])).ok).toBe(false)
  })
})

describe('a config store', () => {
  it('reads documents as files are read, in the order of their names', () => {
    const store = createConfigStore()
    let changes = 0
    store.watch(() => changes++)
    const upsert = new Map([
      ['shop/web', virtualService('web', 1)],
      ['shop/api', virtualService('api', 1)],
    ])
    expect(store.apply(VIRTUAL_SERVICE, { upsert, remove: [] })).toEqual([])
    expect(store.virtualServices.map(({ metadata }) => metadata.name)).toEqual(['api', 'web'])
    expect(store.virtualServices[0]?.spec.http[0]?.timeoutMs).toBe(500)
    expect(store.virtualServices).toBe(store.virtualServices)
    expect(changes).toBe(1)
  })

  it('keeps the last good version of what it refuses, and names what is wrong with it', () => {
    const store = createConfigStore()
    const good = new Map([['shop/web', virtualService('web', 1)]])
    store.apply(VIRTUAL_SERVICE, { upsert: good, remove: [] })
    const { metadata } = virtualService('web', 1)
    const upsert = new Map([['shop/web', { metadata, spec: { hosts: ['web'], htttp: [] } }]])
    const [problem] = store.apply(VIRTUAL_SERVICE, { upsert, remove: [] })
    expect(problem?.name).toBe('shop/web')
    expect(problem?.reason).toContain('did you mean "http"?')
    expect(store.virtualServices).toHaveLength(1)
    store.apply(VIRTUAL_SERVICE, { upsert: new Map(), remove: ['shop/web'] })
    expect(store.virtualServices).toEqual([])
  })

  it('has a policy that cannot be read deny its targets, until it can be', () => {
    const store = createConfigStore()
    const policy = (spec: ConfigDocument['spec']): ReadonlyMap<string, ConfigDocument> =>
      new Map([['shop/p', { metadata: { namespace: 'shop', name: 'p', labels: {}, annotations: {} }, spec }]])
    const targetRefs = [{ group: '', kind: 'Service', name: 'web' }]
    const type = 'security.istio.io/v1/AuthorizationPolicy'
    const unread = { targetRefs, action: 'ALLOW', rules: [{ from: [{ source: { planets: ['mars'] } }] }] }
    expect(store.apply(type, { upsert: policy(unread), remove: [] })).toHaveLength(1)
    expect(store.authorizationPolicies.map(({ spec }) => spec)).toEqual([
      { targetRefs, action: 'DENY', rules: [{}] },
    ])
    const good = { targetRefs, action: 'ALLOW', rules: [{ from: [{ source: { namespaces: ['shop'] } }] }] }
    expect(store.apply(type, { upsert: policy(good), remove: [] })).toEqual([])
    store.apply(type, { upsert: policy(unread), remove: [] })
    expect(store.authorizationPolicies.map(({ spec }) => spec)).toEqual([good])
  })

  it('has a request authentication that cannot be read deny its targets, until it can be or is gone', () => {
    const store = createConfigStore()
    const document = (spec: ConfigDocument['spec']): ReadonlyMap<string, ConfigDocument> =>
      new Map([['shop/p', { metadata: { namespace: 'shop', name: 'p', labels: {}, annotations: {} }, spec }]])
    const targetRefs = [{ group: '', kind: 'Service', name: 'web' }]
    const type = 'security.istio.io/v1/RequestAuthentication'
    const unread = document({ targetRefs, jwtRules: [{ issuer: 'i', presence: 'MANDATORY' }] })
    const denial = { targetRefs, action: 'DENY', rules: [{}] }
    expect(store.apply(type, { upsert: unread, remove: [] })).toHaveLength(1)
    expect(store.authorizationPolicies.map(({ spec }) => spec)).toEqual([denial])
    expect(store.authorizationPolicies[0]?.metadata.name).toBe('unread-request-authentication.p')
    const good = { targetRefs, jwtRules: [{ issuer: 'i', timeout: '2s' }] }
    expect(store.apply(type, { upsert: document(good), remove: [] })).toEqual([])
    expect(store.authorizationPolicies).toEqual([])
    expect(store.requestAuthentications.map(({ spec }) => spec)).toEqual([
      { targetRefs, jwtRules: [{ issuer: 'i', timeoutMs: 2000 }] },
    ])
    store.apply(type, { upsert: unread, remove: [] })
    expect(store.authorizationPolicies).toEqual([])
    expect(store.requestAuthentications).toHaveLength(1)
    store.replace(new Map())
    store.replace(new Map([[type, unread]]))
    expect(store.authorizationPolicies).toHaveLength(1)
    store.replace(new Map())
    expect(store.authorizationPolicies).toEqual([])
  })

  it('knows the labels of pods', () => {
    const store = createConfigStore()
    const metadata = { namespace: 'shop', name: 'web-1', labels: { version: 'v1' }, annotations: {} }
    store.replace(new Map([['core/v1/Pod', new Map([['shop/web-1', { metadata, spec: {} }]])]]))
    expect(store.podLabels('shop', 'web-1')).toEqual({ version: 'v1' })
    store.replace(new Map())
    expect(store.podLabels('shop', 'web-1')).toBeUndefined()
  })
})
