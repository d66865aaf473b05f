import { describe, expect, it } from 'vitest'
import { readManifests } from '../src/index.ts'
import { changed, GOOD, problemsOf } from './support/manifests.ts'

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
