import { describe, expect, it } from 'vitest'
import { readManifests } from '../src/index.ts'
import { ACCOUNT, changed, DEPLOYMENT, GOOD, NAMESPACE, problemsOf, SERVICE } from './support/manifests.ts'

describe('good manifests', () => {
  it('give typed resources without a problem', () => {
    const { resources, problems } = readManifests([{ path: 'a.yaml', text: GOOD }])
    expect(problems).toEqual([])
    expect(resources.deployments[0]).toMatchObject({
      metadata: { name: 'web', namespace: 'shop' },
      source: { file: 'a.yaml', line: 20, column: 1 },
      spec: {
        replicas: 2,
        template: {
          labels: { app: 'web' },
          spec: {
            serviceAccountName: 'web',
            containers: [
              {
                command: ['node', 'web.mjs'],
                args: ['--port', '8080'],
                ports: [{ name: 'http', port: 8080 }],
              },
            ],
          },
        },
      },
    })
    expect(resources.services[0]?.spec).toMatchObject({
      type: 'ClusterIP',
      headless: false,
      internalTrafficPolicy: 'Cluster',
    })
  })

  it('may be JSON, lists, and in any order over files', () => {
    const json = JSON.stringify({
      apiVersion: 'v1',
      kind: 'List',
      items: [
        { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'web', namespace: 'shop' } },
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
      ],
    })
    const { resources, problems } = readManifests([
      { path: 'a.yaml', text: `${DEPLOYMENT}---\n${SERVICE}` },
      { path: 'b.json', text: json },
    ])
    expect(problems).toEqual([])
    expect([resources.serviceAccounts.length, resources.namespaces.length]).toEqual([1, 1])
  })

  it('read every part of a container that a program is made of', () => {
    const container = `          workingDir: apps
          env:
            - { name: PLAIN, value: "1" }
            - { name: EMPTY }
            - name: POD
              valueFrom: { fieldRef: { apiVersion: v1, fieldPath: metadata.name } }
            - name: APP
              valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } }
            - name: NOTE
              valueFrom: { fieldRef: { fieldPath: "metadata.annotations['example.com/note']" } }
          readinessProbe:
            httpGet: { path: /ready, port: http }
            initialDelaySeconds: 2
            periodSeconds: 3
`
    const { resources, problems } = readManifests([{ path: 'a.yaml', text: GOOD + container }])
    expect(problems).toEqual([])
    expect(resources.deployments[0]?.spec.template.spec.containers[0]).toMatchObject({
      workingDir: 'apps',
      env: [
        { kind: 'value', name: 'PLAIN', value: '1' },
        { kind: 'value', name: 'EMPTY', value: '' },
        { kind: 'field', name: 'POD', field: 'metadata.name' },
        { kind: 'label', name: 'APP', key: 'app' },
        { kind: 'annotation', name: 'NOTE', key: 'example.com/note' },
      ],
      readinessProbe: {
        check: { kind: 'http', port: 'http', path: '/ready' },
        initialDelaySeconds: 2,
        periodSeconds: 3,
        failureThreshold: 3,
      },
    })
  })

  it('take what a cluster takes though nothing here acts on it', () => {
    const spec = `      nodeSelector: { zone: a }
      terminationGracePeriodSeconds: 5
      automountServiceAccountToken: false
      securityContext: { runAsNonRoot: true, seccompProfile: { type: RuntimeDefault } }
      tolerations: [{ key: a, operator: Exists }]
      affinity: { podAntiAffinity: {} }
      topologySpreadConstraints: []
      volumes: [{ name: tmp, emptyDir: {} }]
      imagePullSecrets: [{ name: registry }]
      dnsPolicy: ClusterFirst
`
    const container = `          imagePullPolicy: IfNotPresent
          resources: { requests: { cpu: 10m, memory: 16Mi } }
          livenessProbe: { exec: { command: ["true"] } }
          volumeMounts: [{ name: tmp, mountPath: /tmp }]
          securityContext: { readOnlyRootFilesystem: true }
`
    const text = `${GOOD}${container}${spec}`.replace(
      '  replicas: 2',
      '  replicas: 2\n  strategy: { type: Recreate }\n  revisionHistoryLimit: 1',
    )
    expect(problemsOf(text)).toEqual([])
  })

  it('know when a pod is started again, and that a Deployment always is', () => {
    const pod = (policy: string): string => `apiVersion: v1
kind: Pod
metadata: { name: job }
spec:
  restartPolicy: ${policy}
  containers: [{ name: main, image: none }]
`
    for (const policy of ['Always', 'OnFailure', 'Never'])
      expect(readManifests([{ path: 'm.yaml', text: pod(policy) }]).resources.pods).toMatchObject([
        { spec: { restartPolicy: policy } },
      ])
    expect(problemsOf(pod('Sometimes'))).toHaveLength(1)
    expect(problemsOf(`${GOOD}      restartPolicy: Never\n`)).toHaveLength(1)
    expect(problemsOf(`${GOOD}      restartPolicy: Always\n`)).toEqual([])
  })

  it('warn of kinds that nothing here acts on', () => {
    const others = `apiVersion: v1
kind: ConfigMap
metadata: { name: c, namespace: shop }
data: { a: b }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: { name: r, namespace: shop }
spec: { parentRefs: [] }
---
apiVersion: example.com/v1
kind: Service
metadata: { name: somebody-elses }
whatever: 1
`
    expect(problemsOf(GOOD, others)).toEqual([
      'b.yaml:1:1: warning: ConfigMap (v1) is not acted upon here',
      'b.yaml:6:1: warning: GRPCRoute (gateway.networking.k8s.io/v1) is not acted upon here',
      'b.yaml:11:1: warning: Service (example.com/v1) is not acted upon here',
    ])
  })
})

describe('references and duplicates', () => {
  it.each<[what: string, texts: string[], expected: string[]]>([
    [
      'a duplicate names the first',
      [GOOD, SERVICE],
      ['b.yaml:3:19: error: metadata.name: duplicate Service shop/web: it is defined at a.yaml:12:1'],
    ],
    [
      'the same name of another kind or namespace is none',
      [GOOD, `${ACCOUNT.replace('shop', 'default')}---\n${NAMESPACE.replace('name: shop', 'name: web')}`],
      [],
    ],
    [
      'a service account that is not defined',
      [changed('serviceAccountName: web', 'serviceAccountName: wab')],
      [
        'a.yaml:29:27: error: spec.template.spec.serviceAccountName: refers to the ServiceAccount shop/wab, which is not defined',
      ],
    ],
    [
      'the default account needs no definition',
      [changed('serviceAccountName: web', 'serviceAccountName: default')],
      [],
    ],
    [
      'a namespace that is not defined, when some are',
      [GOOD, ACCOUNT.replace('shop', 'shup')],
      ['b.yaml:3:35: error: metadata.namespace: refers to the Namespace shup, which is not defined'],
    ],
    ['no namespace is defined', [[ACCOUNT, SERVICE, DEPLOYMENT].join('---\n')], []],
    ['a namespace that every cluster has', [GOOD, ACCOUNT.replace('shop', 'istio-system')], []],
    [
      'a service that selects nothing',
      [changed('  selector: { app: web }\n  ports', '  selector: { app: wab }\n  ports')],
      [
        'a.yaml:16:13: warning: spec.selector: selects nothing: no pod or deployment of namespace shop has these labels',
      ],
    ],
    [
      'a named port that no selected pod has',
      [changed('targetPort: http', 'targetPort: grpc')],
      [
        'a.yaml:18:43: error: spec.ports[0].targetPort: refers to the container port "grpc", which no selected pod has (http)',
      ],
    ],
    [
      'a policy that selects nothing',
      [
        GOOD,
        'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: p, namespace: shop }\nspec:\n  selector: { matchLabels: { app: none } }\n',
      ],
      [
        'b.yaml:5:13: warning: spec.selector: selects nothing: no pod or deployment of namespace shop has these labels',
      ],
    ],
    [
      'a label that is nearly right',
      [changed('dataplane-mode: ambient', 'dataplane-mode: ambeint')],
      [
        'a.yaml:6:30: warning: metadata.labels."istio.io/dataplane-mode": expected ambient or none, found "ambeint": the namespace is not in the mesh',
      ],
    ],
    [
      'a node that is not defined, when some are',
      [
        changed('serviceAccountName: web', 'serviceAccountName: web\n      nodeName: c'),
        'apiVersion: v1\nkind: Node\nmetadata: { name: a }\n',
      ],
      ['a.yaml:30:17: error: spec.template.spec.nodeName: refers to the Node c, which is not defined'],
    ],
    [
      'what needs a document with another mistake is not reported too',
      [
        changed(
          'metadata: { name: web, namespace: shop }\n---',
          'metadata: { name: web, namespace: shop, lables: {} }\n---',
        ),
      ],
      [expect.stringContaining('metadata.lables: unknown field') as unknown as string],
    ],
  ])('%s', (_, texts, expected) => {
    expect(problemsOf(...texts)).toEqual(expected)
  })

  it('say what of a policy is not enforced at L4', () => {
    const http = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec:
  rules: [{ to: [{ operation: { methods: [GET] } }] }]
`
    const [first] = problemsOf(GOOD, http)
    expect(first).toMatch(/^b\.yaml:1:1: warning: /)
  })
})
