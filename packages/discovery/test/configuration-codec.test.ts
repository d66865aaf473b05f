/** Documents of waypoints on the wire: whatever is written arrives, and nothing that arrives breaks anything. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ConfigDocument, configTypes, createConfigStore, deriveAmbient } from '../src/index.ts'
import { decodeDocument, encodeDocument } from '../src/configuration/codec.ts'
import { inputDefaults, podStatus, resourcesOf } from './support/derive.ts'
import { filters, httpRoute, MESH, route, TO, virtualService } from './support/traffic.ts'

const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$/)
/** Keys that an object would take for its prototype are refused by the reader of manifests. */
const key = fc.string({ maxLength: 20, unit: 'grapheme' }).filter(text => text !== '__proto__')
const texts = fc.dictionary(key, fc.string({ unit: 'grapheme' }), { maxKeys: 4, noNullPrototype: true })
const json = fc.letrec(tie => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.string({ unit: 'grapheme' }),
    fc.boolean(),
    fc.constant(null),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(number => number + 0),
    fc.array(tie('value'), { maxLength: 4 }),
    tie('object'),
  ),
  object: fc.dictionary(key, tie('value'), { maxKeys: 4, noNullPrototype: true }),
}))
const document: fc.Arbitrary<ConfigDocument> = fc.record({
  metadata: fc.record(
    {
      namespace: name,
      name,
      labels: texts,
      annotations: texts,
      creationTimestamp: fc.integer({ min: 0, max: 253_402_300_799_999 }),
    },
    { requiredKeys: ['namespace', 'name', 'labels', 'annotations'] },
  ),
  // What `letrec` makes has no type of its own.
  spec: json.object as fc.Arbitrary<ConfigDocument['spec']>,
})

describe('the codec of documents', () => {
  it('gives back what it was given', () => {
    fc.assert(
      fc.property(document, value => {
        expect(decodeDocument(encodeDocument(value))).toEqual({ ok: true, value })
      }),
    )
  })

  it('gives the same bytes for the same document', () => {
    fc.assert(
      fc.property(document, value => {
        const again = decodeDocument(encodeDocument(value))
        expect(again.ok && encodeDocument(again.value)).toEqual(encodeDocument(value))
      }),
    )
  })

  it('refuses other bytes with a reason and never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
        const read = decodeDocument(bytes)
        if (!read.ok) expect(read.reason).not.toBe('')
      }),
    )
    fc.assert(
      fc.property(document, fc.nat(), fc.integer({ min: 0, max: 255 }), (value, at, byte) => {
        const bytes = Uint8Array.from(encodeDocument(value))
        bytes[at % bytes.length] = byte
        expect(typeof decodeDocument(bytes).ok).toBe('boolean')
        expect(decodeDocument(bytes.subarray(0, at % bytes.length)).ok).toBeTypeOf('boolean')
      }),
    )
  })
})

describe('what a file says', () => {
  const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: get, namespace: shop, annotations: { a: b } }
spec: { targetRefs: [{ group: "", kind: Service, name: web }], rules: [{ to: [{ operation: { methods: [GET] } }] }] }
`
  const authentication = `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec: { targetRefs: [{ kind: Service, name: web }], jwtRules: [{ issuer: i, timeout: 1.5s, audiences: [a] }] }
`
  const mesh = `apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data: { mesh: "trustDomain: cluster.local" }
`
  it('is what a waypoint knows, of every kind', () => {
    const fault = 'fault: { delay: { fixedDelay: 5s, percentage: { value: 0.1 } } }'
    const redirect =
      '{ type: RequestMirror, requestMirror: { backendRef: { name: web, port: 80 }, percent: 5 } }'
    const resources = resourcesOf(
      MESH,
      route(`{ match: [{ uri: { regex: "/a.*" }, headers: { x: {} } }], ${TO}, timeout: 1m30s, ${fault} }`),
      virtualService('  tcp: [{ route: [{ destination: { host: api } }] }]').replace(
        'name: web',
        'name: tcp',
      ),
      filters(redirect),
      httpRoute('timeouts: { request: 10s }').replace('name: web', 'name: other'),
      policy,
      authentication,
      mesh,
    )
    const { configuration = new Map() } = deriveAmbient({ ...inputDefaults, resources })
    const store = createConfigStore()
    for (const type of configTypes) {
      const documents = [...(configuration.get(type) ?? new Map<string, ConfigDocument>())]
      expect(documents.length, type).toBeGreaterThan(0)
      const upsert = documents.map(([at, value]) => [at, overTheWire(value)] as const)
      expect(store.apply(type, { upsert: new Map(upsert), remove: [] })).toEqual([])
    }
    for (const list of ['virtualServices', 'httpRoutes', 'destinationRules', 'gateways'] as const)
      expect(contentOf(store[list]), list).toEqual(contentOf(resources[list]))
    expect(contentOf(store.authorizationPolicies)).toEqual(contentOf(resources.authorizationPolicies))
    expect(contentOf(store.requestAuthentications)).toEqual(contentOf(resources.requestAuthentications))
    expect(store.meshConfig).toEqual(resources.meshConfigs[0]?.config)
    expect(store.podLabels('shop', 'web-1')).toEqual(podStatus().labels)
  })
})

function overTheWire(value: ConfigDocument): ConfigDocument {
  const read = decodeDocument(encodeDocument(value))
  if (!read.ok) throw new Error(read.reason)
  return read.value
}

/** By name, without the places at which it was written: those are of a file. */
function contentOf(objects: readonly { readonly metadata: { readonly name: string } }[]): unknown {
  const sorted = [...objects].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  return JSON.parse(JSON.stringify(sorted, (field, value) => (field === 'source' ? undefined : value)))
}
