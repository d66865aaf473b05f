/** The mesh's configuration: providers of CUSTOM policies, with Istio's defaults and its validation. */
import { describe, expect, it } from 'vitest'
import {
  defaultMeshConfig,
  formatProblem,
  headerMatcher,
  parseMeshConfig,
  readMeshConfig,
} from '@ambient/policy'

const read = (text: string) => readMeshConfig(text, 'mesh.yaml')
const problemsOf = (text: string): readonly string[] => read(text).problems.map(formatProblem)

/** One provider, its fields indented as written. */
const grpc = (fields: string): string =>
  `extensionProviders:\n- name: opa\n  envoyExtAuthzGrpc:\n    service: opa.auth.svc.cluster.local\n    port: 9191\n${fields}`
const http = (fields: string): string =>
  `extensionProviders:\n- name: opa\n  envoyExtAuthzHttp:\n    service: auth/opa.auth.svc.cluster.local\n    port: 8000\n${fields}`

describe('a mesh configuration', () => {
  it('that is empty is the default', () => {
    expect(read('').value).toEqual(defaultMeshConfig)
    expect(parseMeshConfig('accessLogFile: /dev/stdout\ndefaultConfig: { concurrency: 2 }\n', 'm')).toEqual(
      defaultMeshConfig,
    )
  })

  it('says which trust domains and which paths are meant', () => {
    const text =
      'trustDomainAliases: [old.example, td2]\npathNormalization:\n  normalization: MERGE_SLASHES\n'
    expect(read(text).value).toMatchObject({
      trustDomainAliases: ['old.example', 'td2'],
      pathNormalization: 'MERGE_SLASHES',
    })
    expect(read('pathNormalization: { normalization: DEFAULT }').value?.pathNormalization).toBe('BASE')
  })

  it('fills in what a gRPC provider does not say', () => {
    expect(read(grpc('')).value?.extensionProviders).toEqual([
      {
        kind: 'grpc',
        name: 'opa',
        service: { host: 'opa.auth.svc.cluster.local' },
        port: 9191,
        timeoutMs: 600_000,
        failOpen: false,
        statusOnError: 403,
        clearRouteCache: false,
      },
    ])
  })

  it('reads every field of an HTTP provider', () => {
    const text = http(
      [
        '    timeout: 0.25s',
        '    failOpen: true',
        '    statusOnError: "503"',
        '    clearRouteCache: true',
        '    pathPrefix: /check',
        '    includeRequestBodyInCheck: { maxRequestBytes: 1024, allowPartialMessage: true, packAsBytes: true }',
        '    includeRequestHeadersInCheck: [x-user, x-pre-*]',
        '    includeAdditionalHeadersInCheck: { X-Mesh: ambient }',
        '    headersToUpstreamOnAllow: ["*-id"]',
        '    headersToDownstreamOnDeny: [set-cookie]',
        '    headersToDownstreamOnAllow: [x-seen]',
      ].join('\n'),
    )
    expect(read(text).problems).toEqual([])
    expect(read(text).value?.extensionProviders[0]).toEqual({
      kind: 'http',
      name: 'opa',
      service: { namespace: 'auth', host: 'opa.auth.svc.cluster.local' },
      port: 8000,
      timeoutMs: 250,
      failOpen: true,
      statusOnError: 503,
      clearRouteCache: true,
      body: { maxBytes: 1024, allowPartial: true, asBytes: true },
      pathPrefix: '/check',
      includeRequestHeaders: ['x-user', 'x-pre-*'],
      additionalHeaders: [['x-mesh', 'ambient']],
      headersToUpstreamOnAllow: ['*-id'],
      headersToDownstreamOnDeny: ['set-cookie'],
      headersToDownstreamOnAllow: ['x-seen'],
    })
  })

  it('passes over providers of other kinds', () => {
    const text = 'extensionProviders:\n- name: zipkin\n  zipkin: { service: z, port: 9411 }\n'
    expect(read(text)).toEqual({ value: defaultMeshConfig, problems: [] })
  })

  it.each([
    ['extensionProviders: {}', 'mesh.yaml:1:21: error: extensionProviders: expected a list, found a map'],
    [
      'extensionProviders:\n- name: A_b\n  zipkin: {}',
      'mesh.yaml:2:9: error: extensionProviders[0].name: expected at most 63 lower case letters, digits and dashes, found "A_b"',
    ],
    [
      grpc('').replace('opa.auth', 'a/b/opa.auth'),
      'mesh.yaml:4:14: error: extensionProviders[0].envoyExtAuthzGrpc.service: expected',
    ],
    [
      grpc('').replace('9191', '0'),
      'mesh.yaml:5:11: error: extensionProviders[0].envoyExtAuthzGrpc.port: expected an integer from 1 to 65535, found the number 0',
    ],
    [
      grpc('    timeout: 10ms'),
      'mesh.yaml:6:14: error: extensionProviders[0].envoyExtAuthzGrpc.timeout: expected seconds such as 0.5s, from 0.001s to 600s, found "10ms"',
    ],
    [grpc('    timeout: 0s'), 'found "0s"'],
    [grpc('    timeout: 601s'), 'found "601s"'],
    [grpc('    statusOnError: "abc"'), 'expected an HTTP status such as "503", found "abc"'],
    [grpc('    failOpen: "yes"'), 'failOpen: expected true or false'],
    [grpc('    includeRequestBodyInCheck: {}'), 'the field "maxRequestBytes" is required'],
    [http('    pathPrefix: check'), 'expected a path that begins with /, found "check"'],
    [http('    headersToUpstreamOnAllow: ["*"]'), 'expected a header name, PREFIX* or *SUFFIX, found "*"'],
    [http('    headersToUpstreamOnAllow: ["a*b"]'), 'found "a*b"'],
    [
      http('    includeAdditionalHeadersInCheck: { x-a: "1\\r\\nx-b: 2" }'),
      'control characters are not allowed',
    ],
    [`${grpc('')}- name: opa\n  zipkin: {}`, 'the name "opa" is used twice'],
    ['trustDomainAliases: ["*"]', 'mesh.yaml:1:22: error: trustDomainAliases[0]: "*"'],
    ['pathNormalization: { normalization: ALL }', 'expected one of DEFAULT, NONE, BASE'],
  ])('refuses %j', (text, problem) => {
    expect(problemsOf(text).join('\n')).toContain(problem)
    expect(read(text).value).toBeUndefined()
    expect(() => parseMeshConfig(text, 'mesh.yaml')).toThrow(problem.replace(/^.*error: /, ''))
  })

  it('warns of a field that no provider has', () => {
    const { value, problems } = read(grpc('    timeot: 1s'))
    expect(problems.map(formatProblem)).toEqual([
      'mesh.yaml:6:5: warning: extensionProviders[0].envoyExtAuthzGrpc.timeot: unknown field, passed over',
    ])
    expect(value?.extensionProviders).toHaveLength(1)
  })
})

it('a list of headers has names, beginnings and ends, whatever their case', () => {
  const matches = headerMatcher(['X-User', 'x-pre-*', '*-ID'])
  expect(['x-user', 'x-pre-a', 'request-id', 'x-users', 'a-x-pre-', 'id'].map(matches)).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
  ])
})
