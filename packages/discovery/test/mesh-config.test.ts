/** The ConfigMap `istio`: from a manifest to the waypoints. */
import { formatProblem } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { createConfigStore, noResources, readManifests } from '../src/index.ts'
import { configurationOf } from '../src/configuration/document.ts'

const CONFIG_MAP = 'core/v1/ConfigMap'

const manifest = (mesh: string, name = 'istio', namespace = 'istio-system'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: ${namespace}\ndata:\n  mesh: |-\n${mesh.replace(/^/gm, '    ')}\n`

const provider =
  'extensionProviders:\n- name: opa\n  envoyExtAuthzGrpc:\n    service: opa.auth.svc.cluster.local\n    port: 9191'

describe('the mesh configuration of a manifest', () => {
  it('is read from the ConfigMap istio of the root namespace', () => {
    const { resources, problems } = readManifests([{ path: 'a.yaml', text: manifest(provider) }])
    expect(problems).toEqual([])
    expect(
      resources.meshConfigs.map(({ config }) => config.extensionProviders.map(({ name }) => name)),
    ).toEqual([['opa']])
  })

  it.each([
    ['istio', 'shop'],
    ['other', 'istio-system'],
  ])('is nobody else’s: %s of %s', (name, namespace) => {
    const { resources, problems } = readManifests([
      { path: 'a.yaml', text: manifest(provider, name, namespace) },
    ])
    expect(resources.meshConfigs).toEqual([])
    expect(problems.map(({ message }) => message)).toEqual(['ConfigMap (v1) is not acted upon here'])
  })

  it('that is wrong is said where it is written, in the file', () => {
    const text = manifest(provider.replace('9191', '"9191"'))
    const { resources, problems } = readManifests([{ path: 'a.yaml', text }])
    expect(resources.meshConfigs).toEqual([])
    expect(problems.map(formatProblem)).toEqual([
      'a.yaml:12:15: error: extensionProviders[0].envoyExtAuthzGrpc.port: expected an integer from 1 to 65535, found the string "9191"',
    ])
    expect(text.split('\n')[11]?.slice(14)).toBe('"9191"')
    const quoted = manifest('').replace(/mesh: \|-\n *\n/, 'mesh: "extensionProviders: {}"\n')
    expect(readManifests([{ path: 'a.yaml', text: quoted }]).problems.map(formatProblem)).toEqual([
      'a.yaml:7:9: error: data.mesh: line 1, column 21: extensionProviders: expected a list, found a map',
    ])
  })

  it('reaches a store as any other configuration, and what is wrong keeps the last good one', () => {
    const { resources } = readManifests([{ path: 'a.yaml', text: manifest(provider) }])
    const store = createConfigStore()
    expect(store.meshConfig).toBeUndefined()
    store.replace(configurationOf(resources, []))
    const first = store.meshConfig
    expect(first?.extensionProviders.map(({ name }) => name)).toEqual(['opa'])
    const metadata = { namespace: 'istio-system', name: 'istio', labels: {}, annotations: {} }
    const upsert = new Map([['istio-system/istio', { metadata, spec: { mesh: 'extensionProviders: 1' } }]])
    expect(store.apply(CONFIG_MAP, { upsert, remove: [] })).toMatchObject([{ name: 'istio-system/istio' }])
    expect(store.meshConfig).toBe(first)
    store.replace(configurationOf(noResources, []))
    expect(store.meshConfig).toBeUndefined()
  })
})
