import { describe, expect, it } from 'vitest'
import { formatProblem } from '@ambient/policy'
import { readManifests } from '../src/index.ts'

const NAMESPACE = `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    istio.io/dataplane-mode: ambient
`

const ACCOUNT = `apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
`

const SERVICE = `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  selector: { app: web }
  ports:
    - { name: http, port: 80, targetPort: http }
`

const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      serviceAccountName: web
      containers:
        - name: web
          image: example/web:1
          command: [node, web.mjs]
          args: [--port, "8080"]
          ports: [{ name: http, containerPort: 8080 }]
`

const GOOD = [NAMESPACE, ACCOUNT, SERVICE, DEPLOYMENT].join('---\n')

function problemsOf(...texts: string[]): string[] {
  const files = texts.map((text, index) => ({ path: `${'ab'[index]}.yaml`, text }))
  return readManifests(files).problems.map(formatProblem)
}

/** The good manifests with one line changed. */
function changed(from: string | RegExp, to: string): string {
  const text = GOOD.replace(from, to)
  expect(text).not.toBe(GOOD)
  return text
}

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

  it('warn of kinds that nothing here acts on', () => {
    const others = `apiVersion: v1
kind: ConfigMap
metadata: { name: c, namespace: shop }
data: { a: b }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
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
      'b.yaml:6:1: warning: HTTPRoute (gateway.networking.k8s.io/v1) is not acted upon here',
      'b.yaml:11:1: warning: Service (example.com/v1) is not acted upon here',
    ])
  })
})

describe('bad manifests', () => {
  const deny = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec:
  action: ALOW
`
  it.each<[what: string, text: string, expected: string | RegExp]>([
    ['a YAML error', changed('replicas: 2', 'replicas: [2'), /^a\.yaml:2\d:\d+: error: /],
    ['not YAML at all', '{{{{', /^a\.yaml:1:\d+: error: /],
    ['an alias', changed('replicas: 2', 'replicas: *two'), /^a\.yaml:24:\d+: error: .*alias/],
    [
      'a duplicate key',
      changed('  replicas: 2', '  replicas: 2\n  replicas: 3'),
      /^a\.yaml:25:3: error: .*duplicate/i,
    ],
    ['no kind', changed('kind: Service\n', ''), /^a\.yaml:12:1: error: the field "kind" is required/],
    [
      'no apiVersion',
      changed('apiVersion: apps/v1\n', ''),
      /^a\.yaml:20:1: error: the field "apiVersion" is required/,
    ],
    [
      'a kind with a slip',
      changed('kind: Deployment', 'kind: Deploiment'),
      /^a\.yaml:21:7: error: kind: expected one of .*did you mean Deployment/,
    ],
    [
      'a kind in the wrong group',
      changed('apiVersion: apps/v1', 'apiVersion: v1'),
      /^a\.yaml:20:13: error: apiVersion: expected one of apps\/v1/,
    ],
    [
      'a version that does not exist',
      changed('apiVersion: apps/v1', 'apiVersion: apps/v1beta1'),
      /^a\.yaml:20:13: error: apiVersion: expected one of apps\/v1/,
    ],
    [
      'an unknown enum',
      deny,
      'a.yaml:5:11: error: spec.action: expected one of ALLOW, DENY, AUDIT, CUSTOM (did you mean ALLOW?), found the string "ALOW"',
    ],
    [
      'an unknown enum of a service',
      changed('  selector: { app: web }\n  ports', '  type: ClusterIp\n  selector: { app: web }\n  ports'),
      /^a\.yaml:16:9: error: spec\.type: expected one of .*did you mean ClusterIP/,
    ],
    [
      'a wrong type',
      changed('replicas: 2', 'replicas: two'),
      'a.yaml:24:13: error: spec.replicas: expected an integer from 0 to 1000, found the string "two"',
    ],
    [
      'a number for a string',
      changed('args: [--port, "8080"]', 'args: [--port, 8080]'),
      /^a\.yaml:34:\d+: error: spec\.template\.spec\.containers\[0\]\.args\[1\]: expected a string, found the number 8080/,
    ],
    [
      'a port out of range',
      changed('containerPort: 8080', 'containerPort: 80800'),
      /error: .*ports\[0\]\.containerPort: expected an integer from 1 to 65535, found the number 80800/,
    ],
    [
      'a field with a slip',
      changed('          command:', '          comand:'),
      /^a\.yaml:33:11: error: .*comand: unknown field.*did you mean "command"/,
    ],
    [
      'a field in the wrong place',
      changed('  replicas: 2', '  replicas: 2\n  containers: []'),
      /^a\.yaml:25:3: error: spec\.containers: unknown field/,
    ],
    [
      'a missing field',
      changed('- name: web\n          image', '- image'),
      /^a\.yaml:31:11: error: .*the field "name" is required/,
    ],
    [
      'a bad name',
      changed(
        'metadata: { name: web, namespace: shop }\nspec:\n  replicas',
        'metadata: { name: Web!, namespace: shop }\nspec:\n  replicas',
      ),
      /^a\.yaml:22:19: error: metadata\.name: /,
    ],
    [
      'no container',
      changed(/containers:[\s\S]*$/, 'containers: []\n'),
      /error: spec\.template\.spec\.containers: expected at least one container/,
    ],
    [
      'a selector that misses its template',
      changed('matchLabels: { app: web }', 'matchLabels: { app: wob }'),
      /^a\.yaml:25:13: error: spec\.selector: does not select the pods of its own template/,
    ],
    [
      'an unknown field path',
      `${GOOD}          env: [{ name: A, valueFrom: { fieldRef: { fieldPath: status.podIp } } }]\n`,
      /^a\.yaml:36:\d+: error: .*fieldPath: expected one of metadata\.name/,
    ],
    [
      'two kinds of probe',
      `${GOOD}          readinessProbe: { tcpSocket: { port: 1 }, httpGet: { port: 1 } }\n`,
      /^a\.yaml:36:27: error: .*found httpGet and tcpSocket/,
    ],
    [
      'a probe of a port that is not there',
      `${GOOD}          readinessProbe: { tcpSocket: { port: grpc } }\n`,
      /^a\.yaml:36:48: error: .*refers to the port "grpc", which the container does not have/,
    ],
    [
      'several ports without names',
      changed(
        '    - { name: http, port: 80, targetPort: http }',
        '    - { name: a, port: 80 }\n    - { port: 81 }',
      ),
      /^a\.yaml:19:7: error: spec\.ports\[1\]: a service with several ports needs a name for each/,
    ],
    [
      'a port twice',
      changed('targetPort: http }', 'targetPort: http }\n    - { name: again, port: 80 }'),
      /^a\.yaml:19:7: error: spec\.ports\[1\]: the port 80\/TCP is there twice/,
    ],
  ])('%s', (_, text, expected) => {
    const [first, ...rest] = problemsOf(text).filter(line => line.includes(': error: '))
    if (typeof expected === 'string') expect(first).toBe(expected)
    else expect(first).toMatch(expected)
    expect(rest).toEqual([])
  })

  it('are left out, the others are read', () => {
    const { resources } = readManifests([{ path: 'a.yaml', text: changed('replicas: 2', 'replicas: two') }])
    expect(resources.deployments).toEqual([])
    expect(resources.services).toHaveLength(1)
  })

  it('are all told about, by file and position', () => {
    const problems = problemsOf(changed('replicas: 2', 'replicas: two'), deny)
    expect(problems.map(line => line.split(': error')[0])).toEqual(['a.yaml:24:13', 'b.yaml:5:11'])
  })

  it('never throw, whatever the text is', () => {
    for (const text of [
      '',
      '---\n---\n',
      '[]',
      '42',
      'a: [',
      '\u0000',
      '- - -',
      'kind: List\nitems: 5',
      '{"kind": "Service"}',
    ])
      expect(() => problemsOf(text)).not.toThrow()
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
