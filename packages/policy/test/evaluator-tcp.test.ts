/** The dialect `envoy-tcp`: what is left of rules on a chain without HTTP (l7 §2.7), and connections asked of `envoy-http`. */
import { describe, expect, it } from 'vitest'
import { ask, decide, documents, policy, short, sidecar } from './evaluator-fixtures.ts'

const tcp = { dialect: 'envoy-tcp' } as const
const rule = (action: string, text: string): string => policy('shop/p', `action: ${action}\nrules:\n${text}`)

describe('fields of HTTP', () => {
  it.each([
    [
      'an ALLOW rule goes as a whole',
      rule('ALLOW', '- to: [{operation: {methods: [GET]}}]'),
      'deny ALLOW - -',
      /istiod leaves shop\/p rules\[0\] out: methods needs HTTP/,
    ],
    [
      'and leaves the others',
      rule('ALLOW', '- to: [{operation: {methods: [GET]}}]\n- {}'),
      'allow ALLOW shop/p 1',
      /^allowed by: shop\/p rules\[1\]$/,
    ],
    [
      'a DENY rule of nothing else denies all',
      rule('DENY', '- to: [{operation: {paths: [/x]}}]'),
      'deny DENY shop/p 0',
      /shop\/p rules\[0\] is wider than written: istiod drops paths from it on a TCP chain/,
    ],
    [
      'a DENY rule keeps what is left',
      rule('DENY', '- to: [{operation: {paths: [/x], ports: ["81"]}}]'),
      'allow default - -',
      /^no ALLOW policy/,
    ],
    [
      'a DENY rule keeps its sources',
      rule('DENY', '- to: [{operation: {paths: [/x]}}]\n  from: [{source: {namespaces: [other]}}]'),
      'allow default - -',
      /^no ALLOW policy/,
    ],
    [
      'a condition of HTTP',
      rule('DENY', '- when: [{key: "request.headers[x]", values: [a]}]'),
      'deny DENY shop/p 0',
      /istiod drops request\.headers\[x\] from it/,
    ],
    [
      'claims',
      rule('ALLOW', '- from: [{source: {requestPrincipals: ["*"]}}]'),
      'deny ALLOW - -',
      /requestPrincipals needs HTTP/,
    ],
    [
      'trustDomains are asked',
      rule('DENY', '- from: [{source: {trustDomains: [cluster.local]}}]'),
      'deny DENY shop/p 0',
      /^explicitly denied/,
    ],
    [
      'source.serviceAccount is asked',
      rule('ALLOW', '- when: [{key: source.serviceAccount, values: [client/alice]}]'),
      'allow ALLOW shop/p 0',
      /^allowed by/,
    ],
    [
      'connection.sni is asked',
      rule('ALLOW', '- when: [{key: connection.sni, values: [a.example]}]'),
      'allow ALLOW shop/p 0',
      /^allowed by/,
    ],
    [
      'CUSTOM',
      policy(
        'shop/p',
        'action: CUSTOM\nprovider: {name: opa}\nrules: [{to: [{operation: {ports: ["80"]}}]}]',
      ),
      'deny CUSTOM shop/p 0',
      /its provider opa is asked/,
    ],
  ] as const)('%s', (_, text, wanted, reason) => {
    const verdict = decide(documents(text), tcp, ask({ sni: 'a.example' }), sidecar)
    expect(short(verdict)).toBe(wanted)
    expect(verdict.reason).toMatch(reason)
    expect(verdict.status).toBeUndefined()
  })
})

it('a request without http is a connection, also in envoy-http', () => {
  const all = documents(rule('DENY', '- to: [{operation: {paths: [/x]}}]'))
  const verdict = decide(all, { dialect: 'envoy-http' }, ask({ http: null }), sidecar)
  expect(short(verdict)).toBe('deny DENY shop/p 0')
  expect(verdict.dialect).toBe('envoy-tcp')
  expect(verdict.reason).toContain('the request has no http: it is judged as a connection (envoy-tcp)')
})

it('a connection may come through a trusted proxy', () => {
  const all = documents(rule('ALLOW', '- from: [{source: {remoteIpBlocks: [192.0.2.0/24]}}]'))
  expect(short(decide(all, tcp, ask({ http: null, remoteIp: '192.0.2.9' }), sidecar))).toBe(
    'allow ALLOW shop/p 0',
  )
  expect(short(decide(all, tcp, ask({ http: null }), sidecar))).toBe('deny ALLOW - -')
})
