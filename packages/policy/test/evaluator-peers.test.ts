/** PeerAuthentication as istiod converts it, mistakes included (l7 §2.12, ztunnel §7.4). */
import { convertPeerAuthentications } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { ask, type Asked, decide, documents, peers, short } from './evaluator-fixtures.ts'

const options = { dialect: 'ztunnel' } as const
const MESH = 'istio-system/istio_converted_static_strict'
const CONVERTED = 'shop/converted_peer_authentication_p'
const STATIC = `deny DENY ${MESH} 0`
const OPEN = 'allow default - -'

const mesh = (mode: string): string => peers('istio-system/default', `mtls: {mode: ${mode}}`)
const namespace = (mode: string): string => peers('shop/default', `mtls: {mode: ${mode}}`)
const workload = (mode: string | undefined, ports: string): string =>
  peers(
    'shop/p',
    `selector: {matchLabels: {app: web}}\n${mode === undefined ? '' : `mtls: {mode: ${mode}}\n`}${ports === '' ? '' : `portLevelMtls: {${ports}}`}`,
  )

const STRICT_80 = '80: {mode: STRICT}'
const PERMISSIVE_80 = '80: {mode: PERMISSIVE}'
const DISABLE_80 = '80: {mode: DISABLE}'

/** Verdict over plaintext to port 80 and to port 81. */
const rows: readonly (readonly [string, readonly string[], string, string])[] = [
  ['nothing', [], OPEN, OPEN],
  ['a strict mesh', [mesh('STRICT')], STATIC, STATIC],
  ['a permissive mesh', [mesh('PERMISSIVE')], OPEN, OPEN],
  ['DISABLE is permissive', [mesh('DISABLE')], OPEN, OPEN],
  ['a strict namespace', [namespace('STRICT')], STATIC, STATIC],
  ['a namespace wins over the mesh', [mesh('STRICT'), namespace('PERMISSIVE')], OPEN, OPEN],
  ['an unset namespace inherits', [mesh('STRICT'), namespace('UNSET')], STATIC, STATIC],
  ['another namespace', [peers('other/default', 'mtls: {mode: STRICT}')], OPEN, OPEN],
  ['a strict workload', [workload('STRICT', '')], STATIC, STATIC],
  ['a permissive workload of a strict mesh', [mesh('STRICT'), workload('PERMISSIVE', '')], OPEN, OPEN],
  [
    'a strict workload with an open port',
    [workload('STRICT', PERMISSIVE_80)],
    OPEN,
    `deny DENY ${CONVERTED} 0`,
  ],
  [
    'a strict workload with a disabled port',
    [workload('STRICT', DISABLE_80)],
    OPEN,
    `deny DENY ${CONVERTED} 0`,
  ],
  ['a strict workload with a strict port', [workload('STRICT', STRICT_80)], STATIC, STATIC],
  [
    'a permissive workload with a strict port',
    [workload('PERMISSIVE', STRICT_80)],
    `deny DENY ${CONVERTED} 0`,
    OPEN,
  ],
  [
    'an unset workload with a strict port',
    [workload(undefined, STRICT_80)],
    `deny DENY ${CONVERTED} 0`,
    OPEN,
  ],
  ['the same in a strict mesh', [mesh('STRICT'), workload(undefined, STRICT_80)], STATIC, STATIC],
  [
    'an open port in a strict mesh',
    [mesh('STRICT'), workload(undefined, PERMISSIVE_80)],
    OPEN,
    `deny DENY ${CONVERTED} 0`,
  ],
  [
    'an open port in a strict namespace',
    [namespace('STRICT'), workload(undefined, PERMISSIVE_80)],
    OPEN,
    `deny DENY ${CONVERTED} 0`,
  ],
  [
    'a strict port of a permissive workload in a strict namespace',
    [namespace('STRICT'), workload('PERMISSIVE', STRICT_80)],
    `deny DENY ${CONVERTED} 0`,
    OPEN,
  ],
  [
    'a selector in the root namespace is ignored',
    [peers('istio-system/p', 'selector: {matchLabels: {app: web}}\nmtls: {mode: STRICT}')],
    OPEN,
    OPEN,
  ],
  [
    'a selector of others',
    [peers('shop/p', 'selector: {matchLabels: {app: api}}\nmtls: {mode: STRICT}')],
    OPEN,
    OPEN,
  ],
]

const to = (port: number): Asked => ({ principal: null, to: { port } })

describe('plaintext, to port 80 and to another', () => {
  it.each(rows)('%s', (_, texts, at80, at81) => {
    const all = documents(...texts)
    expect(short(decide(all, options, ask(to(80))))).toBe(at80)
    expect(short(decide(all, options, ask(to(81))))).toBe(at81)
  })

  it('a caller with an identity is never denied by them', () => {
    for (const [, texts] of rows) expect(short(decide(documents(...texts), options, ask()))).toBe(OPEN)
  })

  it('is decided as our own conversion does it in each of these', () => {
    for (const [, texts] of rows) {
      const all = documents(...texts)
      const plan = convertPeerAuthentications(all.peerAuthentications ?? [], {
        rootNamespace: 'istio-system',
      })
      for (const port of [80, 81]) {
        const strict = plan.modeFor({ namespace: 'shop', labels: { app: 'web' } }, port) === 'STRICT'
        expect(decide(all, options, ask(to(port))).verdict).toBe(strict ? 'deny' : 'allow')
      }
    }
  })
})

describe('mistakes of istiod', () => {
  it('a STRICT port of a PERMISSIVE workload in a STRICT mesh is listed and never sent', () => {
    const all = documents(mesh('STRICT'), workload('PERMISSIVE', STRICT_80))
    const verdict = decide(all, options, ask(to(80)))
    expect(short(verdict)).toBe(OPEN)
    expect(verdict.reason).toMatch(
      /makes port 80 STRICT, but istiod lists shop\/converted_peer_authentication_p for the workload and never sends it/,
    )
    expect(decide(all, options, ask(to(81))).reason).not.toMatch(/istiod/)
  })

  it('a DISABLE port of a workload without mode in a STRICT mesh stays closed', () => {
    const all = documents(mesh('STRICT'), workload(undefined, DISABLE_80))
    const verdict = decide(all, options, ask(to(80)))
    expect(short(verdict)).toBe(STATIC)
    expect(verdict.reason).toMatch(/opens port 80, but istiod, .* takes DISABLE for no exception/)
    expect(decide(all, options, ask(to(81))).reason).not.toMatch(/DISABLE/)
  })

  it('unless another port is PERMISSIVE', () => {
    const all = documents(mesh('STRICT'), workload(undefined, `${DISABLE_80}, 82: {mode: PERMISSIVE}`))
    expect(short(decide(all, options, ask(to(80))))).toBe(OPEN)
    expect(short(decide(all, options, ask(to(81))))).toBe(`deny DENY ${CONVERTED} 0`)
  })
})

it('the oldest of several counts', () => {
  const dated = (name: string, mode: string, time: string): string =>
    peers(name, `mtls: {mode: ${mode}}`).replace(
      'namespace: shop',
      `namespace: shop, creationTimestamp: "${time}"`,
    )
  const all = documents(
    dated('shop/a', 'STRICT', '2026-01-02T00:00:00Z'),
    dated('shop/b', 'PERMISSIVE', '2026-01-01T00:00:00Z'),
  )
  expect(short(decide(all, options, ask(to(80))))).toBe(OPEN)
})
