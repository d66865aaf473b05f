import { describe, expect, test } from 'vitest'
import { readManifests } from '@ambient/discovery'
import { formatProblem } from '@ambient/policy'
import { createMesh } from '../src/index.ts'
import { plansOf } from '../src/pods/plans-of.ts'
import { resolveVariables } from '../src/pods/variables.ts'

const manifest = `apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Pod
metadata:
  name: tool
  namespace: shop
  labels: { app: tool }
  annotations: { note: hi }
spec:
  restartPolicy: OnFailure
  nodeSelector: { kubernetes.io/hostname: node-b, disk: fast }
  containers:
    - name: main
      image: tool:1
      command: [node, tool.mjs]
      args: ["--port=$(PORT)"]
      ports:
        - { name: web, containerPort: 80 }
        - { containerPort: 53, protocol: UDP }
      env:
        - { name: PORT, value: "80" }
        - { name: SELF, value: "$(PORT)-$(NONE)" }
        - { name: WHO, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
        - { name: WHERE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
        - { name: APP, valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } }
        - { name: NOTE, valueFrom: { fieldRef: { fieldPath: "metadata.annotations['note']" } } }
      readinessProbe: { httpGet: { port: web, path: /ok }, periodSeconds: 2 }
    - name: sidecar
      image: image-only:1
`

function planned(): ReturnType<typeof plansOf> {
  const { resources, problems } = readManifests([{ path: 'a.yaml', text: manifest }])
  expect(problems.map(formatProblem)).toEqual([])
  return plansOf(resources)
}

describe('plans', () => {
  test('a container becomes a program with its ports, its probe and its node', () => {
    const [plan] = planned().plans
    expect(plan).toMatchObject({
      kind: 'Pod',
      namespace: 'shop',
      name: 'tool',
      replicas: 1,
      template: {
        serviceAccount: 'default',
        node: 'node-b',
        graceMs: 30_000,
        restart: 'OnFailure',
        containers: [
          {
            argv: ['node', 'tool.mjs', '--port=$(PORT)'],
            ports: [{ name: 'web', port: 80 }],
            readiness: { ask: { kind: 'http', path: '/ok', port: 80 }, periodMs: 2_000, timeoutMs: 1_000 },
          },
          { argv: [] },
        ],
      },
    })
  })

  test('what cannot be had here is a warning at its place', () => {
    expect(planned().problems.map(formatProblem)).toEqual([
      'a.yaml:5:1: warning: nodeSelector: only kubernetes.io/hostname is honoured, found disk',
      'a.yaml:5:1: warning: container sidecar has no command: images are not run here, so nothing is started for it',
    ])
  })

  test('variables know earlier ones and the pod', () => {
    const [plan] = planned().plans
    if (plan === undefined) throw new Error('no plan')
    const pod = {
      name: 'tool',
      node: 'node-b',
      address: '127.1.11.1',
      hostAddress: '127.1.0.2',
      uid: 'u',
      plan,
    }
    expect(resolveVariables(plan.template.containers[0]?.env ?? [], pod)).toEqual({
      PORT: '80',
      SELF: '80-$(NONE)',
      WHO: 'tool',
      WHERE: 'node-b',
      APP: 'tool',
      NOTE: 'hi',
    })
  })
})

describe('options', () => {
  test.each([
    [{ nodes: [] }, /nodes must be 1 to 100 names/],
    [{ nodes: ['a', 'a'] }, /different names/],
    [{ nodes: ['A'] }, /node name "A" is not a DNS label/],
    [{ trustDomain: 'Upper' }, /trust domain/],
    [{ certificateTtlMs: 10 }, /certificateTtlMs must be at least 1000/],
    [{ block: 255 }, /block must be an integer from 1 to 254/],
    [{ manifests: '' }, /manifests must be a folder/],
  ])('%j is refused with its reason', (options, message) => {
    expect(() => createMesh({ manifests: '.', ...options })).toThrow(message)
  })

  test('a mesh that was never started closes', async () => {
    const mesh = createMesh({ manifests: '.' })
    expect(mesh.pods).toEqual([])
    await mesh.close()
    await expect(mesh.start()).rejects.toMatchObject({ code: 'AMBIENT_E_MESH_CLOSED' })
  })
})
