/** `ambient config support`: each row is what the reader does with such a document. */
import { fileURLToPath } from 'node:url'
import { readManifests } from '@ambient/discovery'
import { beforeAll, describe, expect, it } from 'vitest'
import { supportText } from '../src/config/command.ts'
import { type SupportRow, supportTable } from '../src/config/support.ts'
import { run } from './host.ts'

/** Kinds of which nothing may be passed over in silence. */
const JUDGED = [
  'AuthorizationPolicy',
  'PeerAuthentication',
  'RequestAuthentication',
  'Gateway',
  'HTTPRoute',
  'VirtualService',
  'DestinationRule',
]

let rows: readonly SupportRow[]
beforeAll(() => {
  rows = supportTable()
}, 60_000)

const rowOf = (kind: string, field: string): SupportRow | undefined =>
  rows.find(row => row.kind === kind && row.field === field)

describe('the table', () => {
  it('is docs/support.md', async () => {
    const shown = rows.filter(({ kind }) => JUDGED.includes(kind) || !['Pod', 'Deployment'].includes(kind))
    await expect(documentOf(shown)).toMatchFileSnapshot(
      fileURLToPath(new URL('../../../docs/support.md', import.meta.url)),
    )
  })

  it('passes over nothing of policies and routes in silence', () => {
    const silent = rows.filter(({ kind, status }) => JUDGED.includes(kind) && status === 'unused')
    expect(silent.map(({ kind, field }) => `${kind} ${field}`)).toEqual(['Gateway spec.addresses[].value'])
  })

  it('is the same each time', () => expect(supportText(supportTable())).toBe(supportText(rows)), 60_000)
})

/** A document with one field, by its path: lists of one item, maps with one key. */
function documentWith(kind: string, apiVersion: string, field: string, value: unknown, base: object): string {
  const spec: Record<string, unknown> = structuredClone(base) as Record<string, unknown>
  let at: Record<string, unknown> = { spec }
  const steps = field.split('.')
  for (const [index, step] of steps.entries()) {
    const name = step.replace('[]', '')
    const last = index === steps.length - 1
    if (last) at[name] = value
    else if (step.endsWith('[]')) {
      const list = (at[name] ?? [{}]) as Record<string, unknown>[]
      at[name] = list
      at = list[0] as Record<string, unknown>
    } else {
      at[name] ??= {}
      at = at[name] as Record<string, unknown>
    }
  }
  return JSON.stringify({ apiVersion, kind, metadata: { name: 'a', namespace: 'default' }, spec })
}

const VS = { hosts: ['a'], http: [{ route: [{ destination: { host: 'a' } }] }] }
const ROUTE = {
  parentRefs: [{ group: '', kind: 'Service', name: 'a', port: 80 }],
  rules: [{ backendRefs: [{ name: 'a', port: 80 }] }],
}
const DR = { host: 'a' }
const WAYPOINT = {
  gatewayClassName: 'istio-waypoint',
  listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
}
const POLICY = { rules: [{ from: [{ source: { namespaces: ['a'] } }] }] }
const SAMPLES: readonly (readonly [string, string, string, unknown, object])[] = [
  ['VirtualService', 'networking.istio.io/v1', 'spec.http[].timeout', '5s', VS],
  ['VirtualService', 'networking.istio.io/v1', 'spec.http[].retries.attempts', 2, VS],
  ['VirtualService', 'networking.istio.io/v1', 'spec.tls', [], VS],
  [
    'VirtualService',
    'networking.istio.io/v1',
    'spec.http[].delegate',
    { name: 'b' },
    { hosts: ['a'], http: [{}] },
  ],
  ['VirtualService', 'networking.istio.io/v1', 'spec.http[].match[].sourceLabels', { a: 'b' }, VS],
  ['VirtualService', 'networking.istio.io/v1', 'spec.http[].match[].statPrefix', 'a', VS],
  ['VirtualService', 'networking.istio.io/v1', 'spec.http[].fault.abort.http2Error', 'a', VS],
  ['DestinationRule', 'networking.istio.io/v1', 'spec.trafficPolicy.outlierDetection', {}, DR],
  ['DestinationRule', 'networking.istio.io/v1', 'spec.trafficPolicy.tls', { mode: 'DISABLE' }, DR],
  ['DestinationRule', 'networking.istio.io/v1', 'spec.trafficPolicy.loadBalancer.simple', 'RANDOM', DR],
  ['DestinationRule', 'networking.istio.io/v1', 'spec.trafficPolicy.loadBalancer.consistentHash', {}, DR],
  ['HTTPRoute', 'gateway.networking.k8s.io/v1', 'spec.rules[].timeouts.request', '5s', ROUTE],
  ['HTTPRoute', 'gateway.networking.k8s.io/v1', 'spec.rules[].sessionPersistence', {}, ROUTE],
  ['HTTPRoute', 'gateway.networking.k8s.io/v1', 'spec.parentRefs[].sectionName', 'http', ROUTE],
  ['Gateway', 'gateway.networking.k8s.io/v1', 'spec.infrastructure', {}, WAYPOINT],
  ['AuthorizationPolicy', 'security.istio.io/v1', 'spec.selector', { matchLabels: { a: 'b' } }, POLICY],
  ['PeerAuthentication', 'security.istio.io/v1', 'spec.mtls.mode', 'STRICT', {}],
]

describe('a row is what a document with the field gets', () => {
  for (const [kind, apiVersion, field, value, base] of SAMPLES)
    it(`${kind} ${field}`, () => {
      const read = (text: string): readonly string[] =>
        readManifests([{ path: 'a.json', text }]).problems.map(
          ({ severity, message }) => `${severity} ${message}`,
        )
      const without = read(
        JSON.stringify({ apiVersion, kind, metadata: { name: 'a', namespace: 'default' }, spec: base }),
      )
      const said = read(documentWith(kind, apiVersion, field, value, base)).filter(
        text => !without.includes(text) && !text.includes('selects nothing'),
      )
      const status = said.some(text => text.startsWith('error'))
        ? 'refused'
        : said.length > 0
          ? 'warned'
          : 'enforced'
      expect([rowOf(kind, field)?.status, said]).toEqual([status, said])
    })

  it('RequestAuthentication spec.selector', () => {
    const text = documentWith(
      'RequestAuthentication',
      'security.istio.io/v1',
      'spec.selector',
      { matchLabels: { a: 'b' } },
      {},
    )
    const said = readManifests([{ path: 'a.json', text }]).problems.map(
      ({ severity, message }) => `${severity} ${message}`,
    )
    expect(said).toContainEqual(expect.stringMatching(/^warning .*nobody enforces it/))
    expect(rowOf('RequestAuthentication', 'spec.selector')?.status).toBe('warned')
  })

  it('a field that is in no row is an error', () => {
    for (const [kind, apiVersion, , , base] of SAMPLES) {
      const text = documentWith(kind, apiVersion, 'spec.noSuchField', 1, base)
      expect(readManifests([{ path: 'a.json', text }]).problems.map(({ message }) => message)).toContainEqual(
        expect.stringContaining('unknown field'),
      )
      expect(rowOf(kind, 'spec.noSuchField')).toBeUndefined()
    }
  })
})

it('has what ztunnel does not see', () => {
  const by = (field: string): readonly string[] | undefined => rowOf('AuthorizationPolicy', field)?.by
  expect(by('spec.rules[].from[].source.principals')).toEqual(['ztunnel', 'waypoint'])
  expect(by('spec.rules[].to[].operation.paths')).toEqual(['waypoint'])
  expect(by('spec.rules[].when[].key: source.namespace')).toEqual(['ztunnel', 'waypoint'])
  expect(by('spec.rules[].when[].key: request.headers[NAME]')).toEqual(['waypoint'])
})

it('is printed whole or in part', async () => {
  const { code, out } = await run('config', 'support', '--kind', 'PeerAuthentication')
  expect(code).toBe(0)
  expect(out.split('\n')[0]).toMatch(/^KIND +FIELD +STATUS +BY +NOTE$/)
  expect(out).toMatch(/^PeerAuthentication +spec\.mtls\.mode +enforced +ztunnel$/m)
  const json = await run('config', 'support', '--status', 'refused', '-o', 'json')
  const { rows: refused } = JSON.parse(json.out) as { rows: readonly SupportRow[] }
  expect(refused.length).toBeGreaterThan(3)
  expect(refused.every(({ status }) => status === 'refused')).toBe(true)
}, 60_000)

function documentOf(list: readonly SupportRow[]): string {
  const kinds = [...new Set(list.map(({ kind }) => kind))]
  const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('*', '\\*')
  const section = (kind: string): string => {
    const lines = list
      .filter(row => row.kind === kind)
      .map(
        ({ field, status, by, note }) =>
          `| \`${field}\` | ${status} | ${by.join(', ') || '–'} | ${cell(note)} |`,
      )
    return `## ${kind}\n\n| field | status | by | note |\n|---|---|---|---|\n${lines.join('\n')}\n`
  }
  return `# What is supported\n\nWritten from the readers themselves, by \`packages/cli/test/config-support.test.ts\` (\`-u\` writes it again); \`ambient config support\` prints the\nsame with the fields of pods.\n\n- **enforced**: it does what it says, at those named.\n- **warned**: taken, and said to be without effect.\n- **refused**: an error, with its place.\n- **unused**: taken as a cluster would take it; nobody here needs it.\n\nA field that is in no row is an error.\n\n${kinds.map(section).join('\n')}`
}
