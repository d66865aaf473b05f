/** The published JSON Schemas say what the readers say, as far as a schema can. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Ajv, type ValidateFunction } from 'ajv'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readPolicies, readPolicyTests, readYaml } from '@ambient/policy'

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }

const ajv = new Ajv({ allErrors: true, strictTypes: false, strictRequired: false })
const validators = new Map(
  ['authorization-policy', 'peer-authentication', 'request-authentication', 'policy-test'].map(name => [
    name,
    ajv.compile(
      JSON.parse(readFileSync(new URL(`../schemas/${name}.json`, import.meta.url), 'utf8')) as object,
    ),
  ]),
)
const OF_KIND = new Map([
  ['AuthorizationPolicy', 'authorization-policy'],
  ['PeerAuthentication', 'peer-authentication'],
  ['RequestAuthentication', 'request-authentication'],
])

function validator(name: string): ValidateFunction {
  const found = validators.get(name)
  if (found === undefined) throw new Error(name)
  return found
}

/** What every editor shows; the schema's own words where it refuses. */
function schemaProblems(name: string, document: unknown): readonly string[] {
  const validate = validator(name)
  return validate(document)
    ? []
    : (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)
}

function readerProblems(name: string, document: unknown): readonly string[] {
  const text = JSON.stringify(document)
  const { problems } = name === 'policy-test' ? readPolicyTests(text, 'x') : readPolicies(text, 'x')
  return problems.filter(({ severity }) => severity === 'error').map(({ message }) => message)
}

const AUTHORIZATION = (spec: Json): Json => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: {
    name: 'web',
    namespace: 'shop',
    annotations: { 'istio.io/dry-run': 'true', 'ambient.dev/expires': '2999-01-01T00:00:00Z' },
  },
  spec,
})

const SAMPLES: readonly (readonly [string, Json])[] = [
  [
    'authorization-policy',
    AUTHORIZATION({
      selector: { matchLabels: { app: 'web' } },
      action: 'DENY',
      rules: [
        {
          from: [
            {
              source: {
                principals: ['td/ns/a/sa/b'],
                notNamespaces: ['x*'],
                ipBlocks: ['10.0.0.0/8', '::1'],
              },
            },
            { source: { serviceAccounts: ['a', 'b/c'], trustDomains: ['*.example'] } },
          ],
          to: [
            {
              operation: { hosts: ['a'], ports: ['80'], methods: ['GET'], notPaths: ['/a/{*}/{**}', '/b*'] },
            },
          ],
          when: [
            { key: 'request.headers[x-a]', values: ['b'] },
            { key: 'source.ip', notValues: ['10.0.0.1'] },
          ],
        },
      ],
    }),
  ],
  [
    'authorization-policy',
    AUTHORIZATION({
      targetRefs: [
        { kind: 'Service', name: 'web' },
        { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'waypoint' },
      ],
      action: 'CUSTOM',
      provider: { name: 'oauth' },
      rules: [{ to: [{ operation: { paths: ['/a'] } }], when: [{ key: 'remote.ip', values: ['10.0.0.1'] }] }],
    }),
  ],
  [
    'peer-authentication',
    {
      apiVersion: 'security.istio.io/v1beta1',
      kind: 'PeerAuthentication',
      metadata: { name: 'web' },
      spec: {
        selector: { matchLabels: { app: 'web' } },
        mtls: { mode: 'STRICT' },
        portLevelMtls: { '8080': { mode: 'PERMISSIVE' } },
      },
    },
  ],
  [
    'request-authentication',
    {
      apiVersion: 'security.istio.io/v1',
      kind: 'RequestAuthentication',
      metadata: { name: 'tokens', namespace: 'shop' },
      spec: {
        targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
        jwtRules: [
          {
            issuer: 'https://issuer.example',
            audiences: ['web'],
            jwksUri: 'https://issuer.example/keys',
            fromHeaders: [{ name: 'x-jwt', prefix: 'Bearer ' }],
            fromParams: ['token'],
            fromCookies: ['token'],
            outputPayloadToHeader: 'x-payload',
            outputClaimToHeaders: [{ header: 'x-sub', claim: 'sub' }],
            forwardOriginalToken: true,
            timeout: '5s',
            spaceDelimitedClaims: ['roles'],
          },
        ],
      },
    },
  ],
  [
    'policy-test',
    {
      policies: ['../policies'],
      dialect: 'envoy-http',
      rootNamespace: 'istio-system',
      trustDomain: 'cluster.local',
      trustDomainAliases: ['old.example'],
      pathNormalization: 'BASE',
      custom: 'deny',
      workloads: { 'shop/web': { labels: { app: 'web' }, ip: '10.0.0.7' } },
      defaults: { from: 'shop/client' },
      tests: [
        {
          name: 'clients',
          to: 'shop/web:8080',
          method: ['GET', 'HEAD'],
          headers: { a: ['b', 'c'] },
          expect: 'allow',
        },
        {
          to: { service: 'shop/web', port: 80 },
          enforcer: 'waypoint shop/waypoint',
          cases: [{ from: 'plaintext', expect: 'deny', status: 403, by: 'none' }],
        },
      ],
    },
  ],
]

describe('valid documents', () => {
  for (const [name, document] of SAMPLES)
    it(`${name}: reader and schema take the sample`, () => {
      expect(readerProblems(name, document)).toEqual([])
      expect(schemaProblems(name, document)).toEqual([])
    })

  const root = fileURLToPath(new URL('../../..', import.meta.url))
  const files = ['examples', 'packages', 'test'].flatMap(folder =>
    readdirSync(`${root}/${folder}`, { recursive: true, encoding: 'utf8' })
      .filter(name => /\.ya?ml$/.test(name) && !/(node_modules|dist)\//.test(name))
      .map(name => `${folder}/${name}`),
  )

  it('of this repository are taken by both, or refused by the reader', () => {
    let seen = 0
    for (const file of files) {
      for (const { root: document, kind } of readYaml(readFileSync(`${root}/${file}`, 'utf8'), file)
        .documents) {
        const name = OF_KIND.get(kind)
        const value = document.toJson()
        if (name === undefined || readerProblems(name, value).length > 0) continue
        seen++
        expect([file, schemaProblems(name, JSON.parse(JSON.stringify(value)))]).toEqual([file, []])
      }
    }
    expect(seen).toBeGreaterThan(30)
  })
})

describe('typical mistakes are refused by both', () => {
  const spec = (value: Json): Json => AUTHORIZATION(value)
  const source = (fields: Json, action = 'ALLOW'): Json =>
    spec({ action, rules: [{ from: [{ source: fields }] }] })
  const mistakes: readonly (readonly [string, string, Json])[] = [
    ['an unknown field', 'authorization-policy', spec({ rule: [] })],
    [
      'source without its wrapper',
      'authorization-policy',
      spec({ rules: [{ from: [{ principals: ['a'] }] }] }),
    ],
    [
      'a port as a number',
      'authorization-policy',
      spec({ rules: [{ to: [{ operation: { ports: [80] } }] }] }),
    ],
    [
      'a port that is none',
      'authorization-policy',
      spec({ rules: [{ to: [{ operation: { ports: ['99999'] } }] }] }),
    ],
    ['an empty from', 'authorization-policy', spec({ rules: [{ from: [] }] })],
    ['an empty source', 'authorization-policy', source({})],
    ['a bad CIDR', 'authorization-policy', source({ ipBlocks: ['10.0.0.0/33'] })],
    [
      'accounts beside principals',
      'authorization-policy',
      source({ serviceAccounts: ['a'], principals: ['b'] }),
    ],
    ['DENY without rules', 'authorization-policy', spec({ action: 'DENY' })],
    ['CUSTOM without provider', 'authorization-policy', spec({ action: 'CUSTOM', rules: [{}] })],
    [
      'principals with CUSTOM',
      'authorization-policy',
      spec({
        action: 'CUSTOM',
        provider: { name: 'a' },
        rules: [{ from: [{ source: { principals: ['a'] } }] }],
      }),
    ],
    ['a provider with ALLOW', 'authorization-policy', spec({ provider: { name: 'a' } })],
    ['an action in lower case', 'authorization-policy', spec({ action: 'deny', rules: [{}] })],
    [
      'an unknown key',
      'authorization-policy',
      spec({ rules: [{ when: [{ key: 'source.principals', values: ['a'] }] }] }),
    ],
    ['a key without values', 'authorization-policy', spec({ rules: [{ when: [{ key: 'source.ip' }] }] })],
    [
      'selector and targetRefs',
      'authorization-policy',
      spec({ selector: { matchLabels: { a: 'b' } }, targetRefs: [{ kind: 'Service', name: 'a' }] }),
    ],
    ['an empty selector', 'authorization-policy', spec({ selector: {} })],
    [
      'a target without its group',
      'authorization-policy',
      spec({ targetRefs: [{ kind: 'Gateway', name: 'a' }] }),
    ],
    [
      'a template with two {**}',
      'authorization-policy',
      spec({ rules: [{ to: [{ operation: { paths: ['/{**}/{**}'] } }] }] }),
    ],
    [
      'ports without a selector',
      'peer-authentication',
      {
        apiVersion: 'security.istio.io/v1',
        kind: 'PeerAuthentication',
        metadata: { name: 'a' },
        spec: { portLevelMtls: { '80': { mode: 'STRICT' } } },
      },
    ],
    [
      'a rule without issuer and keys',
      'request-authentication',
      {
        apiVersion: 'security.istio.io/v1',
        kind: 'RequestAuthentication',
        metadata: { name: 'a' },
        spec: { jwtRules: [{ audiences: ['a'] }] },
      },
    ],
    ['a test without tests', 'policy-test', { policies: ['a'] }],
    ['an expectation that is none', 'policy-test', { tests: [{ from: 'a/b', to: 'c/d:80', expect: 'yes' }] }],
  ]
  for (const [title, name, document] of mistakes)
    it(`${name}: ${title}`, () => {
      expect(readerProblems(name, document)).not.toEqual([])
      expect(schemaProblems(name, document)).not.toEqual([])
    })
})

/** What a draft-07 schema cannot say, or says in its own way: told apart by the reader's words. */
const INEXPRESSIBLE =
  /(is required, here or in the defaults|expected a URL|expected a JSON object|"keys"|whole milliseconds|at least 1ms|without user name|expected a time)/

describe('mutations', () => {
  for (const [name, sample] of SAMPLES)
    it(`${name}: schema and reader judge alike`, () => {
      fc.assert(
        fc.property(fc.nat(), fc.nat(), fc.nat(), (where, how, what) => {
          const mutated = mutate(sample, where, how, what)
          const reader = readerProblems(name, mutated)
          if (reader.length > 0 && reader.every(message => INEXPRESSIBLE.test(message))) return
          const schema = schemaProblems(name, mutated)
          if (reader.length > 0 !== schema.length > 0)
            throw new Error(
              `${JSON.stringify(mutated)}\nreader: ${reader.join('; ')}\nschema: ${schema.join('; ')}`,
            )
        }),
        { numRuns: 300 },
      )
    })
})

const VALUES: readonly Json[] = [
  '',
  'x',
  7,
  true,
  [],
  {},
  'a/b',
  '*',
  ['x'],
  { x: 'y' },
  'a b',
  '{**}',
  '10.0.0.1',
]

/** One change at one place: a value replaced, a key removed, renamed or added. */
function mutate(document: Json, where: number, how: number, what: number): Json {
  const places = placesOf(document, [])
  const path = places[where % places.length] ?? []
  const value = VALUES[what % VALUES.length] ?? ''
  return change(document, path, how % 4, value)
}

function placesOf(
  value: Json,
  path: readonly (string | number)[],
): readonly (readonly (string | number)[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  const children = Array.isArray(value) ? [...value.entries()] : Object.entries(value)
  return [
    ...(path.length > 0 ? [path] : []),
    ...children.flatMap(([key, item]) => placesOf(item, [...path, key])),
  ]
}

function change(
  document: Json,
  [key, ...rest]: readonly (string | number)[],
  how: number,
  value: Json,
): Json {
  if (key === undefined) return value
  if (Array.isArray(document))
    return document.flatMap((item, index) =>
      index !== key ? [item] : rest.length === 0 && how === 1 ? [] : [change(item, rest, how, value)],
    )
  const entries = Object.entries(document as { readonly [key: string]: Json })
  return Object.fromEntries(
    entries.flatMap(([name, item]) => {
      if (name !== key) return [[name, item]]
      if (rest.length > 0) return [[name, change(item, rest, how, value)]]
      if (how === 1) return []
      if (how === 2) return [[`${name}x`, item]]
      return how === 3
        ? [
            [name, item],
            ['extra', value],
          ]
        : [[name, value]]
    }),
  )
}
