/** Reading RequestAuthentication: every field, and a position for every kind of mistake. */
import { describe, expect, it } from 'vitest'
import { formatProblem, readPolicies, readRequestAuthentication, readYaml } from '@ambient/policy'

const head =
  'apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: p, namespace: shop}\n'

function read(text: string) {
  const { documents, problems } = readYaml(text, 'p.yaml')
  const root = documents[0]?.root
  const policy = root === undefined ? undefined : readRequestAuthentication(root)
  return { policy, lines: problems.map(formatProblem) }
}

const rule = (fields: string): string => `${head}spec:\n  jwtRules:\n  - {issuer: i, ${fields}}\n`

describe('RequestAuthentication', () => {
  it('reads every field of the API', () => {
    const { policy, lines } = read(`${head}spec:
  targetRefs: [{kind: Service, name: web}, {group: gateway.networking.k8s.io, kind: Gateway, name: w}]
  jwtRules:
  - issuer: https://issuer.example
    audiences: [web, https://web.example]
    jwksUri: https://issuer.example/jwks.json
    jwks: '{"keys":[{"kty":"RSA","n":"x","e":"AQAB"}]}'
    fromHeaders: [{name: x-token, prefix: "Token "}, {name: x-other}]
    fromParams: [token]
    fromCookies: [session]
    outputPayloadToHeader: x-payload
    outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: X_Team, claim: org.team}]
    forwardOriginalToken: true
    timeout: 1m1.5s
    spaceDelimitedClaims: [roles]
  - jwksUri: http://keys.shop:8080/jwks
`)
    expect(lines).toEqual([])
    expect(policy?.spec).toEqual({
      targetRefs: [
        { group: '', kind: 'Service', name: 'web' },
        { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'w' },
      ],
      jwtRules: [
        {
          issuer: 'https://issuer.example',
          audiences: ['web', 'https://web.example'],
          jwksUri: 'https://issuer.example/jwks.json',
          jwks: '{"keys":[{"kty":"RSA","n":"x","e":"AQAB"}]}',
          fromHeaders: [{ name: 'x-token', prefix: 'Token ' }, { name: 'x-other' }],
          fromParams: ['token'],
          fromCookies: ['session'],
          outputPayloadToHeader: 'x-payload',
          outputClaimToHeaders: [
            { header: 'x-sub', claim: 'sub' },
            { header: 'X_Team', claim: 'org.team' },
          ],
          forwardOriginalToken: true,
          timeoutMs: 61_500,
          spaceDelimitedClaims: ['roles'],
        },
        { issuer: '', jwksUri: 'http://keys.shop:8080/jwks' },
      ],
    })
    expect(policy?.source).toEqual({ file: 'p.yaml', line: 1, column: 1 })
  })

  it('reads the older version, a selector, and a spec that says nothing', () => {
    const old = head.replace('/v1', '/v1beta1')
    expect(read(`${old}spec: {selector: {matchLabels: {app: a}}}\n`).policy?.spec).toEqual({
      selector: { matchLabels: { app: 'a' } },
    })
    expect(read(`${old}spec: {selector: {}}\n`).policy?.spec).toEqual({ selector: { matchLabels: {} } })
    expect(read(old).policy?.spec).toEqual({})
    expect(read(`${old}spec: {}\nstatus: {conditions: []}\n`).policy?.spec).toEqual({})
  })

  it('is among the policies of a text', () => {
    const { requestAuthentications, problems } = readPolicies(rule('audiences: [a]'), 'p.yaml')
    expect(problems).toEqual([])
    expect(requestAuthentications.map(({ metadata }) => metadata.name)).toEqual(['p'])
  })

  it.each([
    [
      'an unknown field',
      rule('jwksURI: x'),
      'p.yaml:6:17: error: spec.jwtRules[0].jwksURI: unknown field, expected one of issuer, audiences, jwksUri, jwks, fromHeaders, fromParams, fromCookies, outputPayloadToHeader, outputClaimToHeaders, forwardOriginalToken, timeout, spaceDelimitedClaims; did you mean "jwksUri"?',
    ],
    [
      'a rule without issuer and keys',
      `${head}spec:\n  jwtRules:\n  - audiences: [a]\n`,
      'p.yaml:6:5: error: spec.jwtRules[0].issuer: expected an issuer or a jwksUri, so that there is a key to verify with',
    ],
    [
      'an empty rule',
      `${head}spec: {jwtRules: [~]}\n`,
      'p.yaml:4:19: error: spec.jwtRules[0]: expected a map, found nothing',
    ],
    [
      'an empty audience',
      rule('audiences: [""]'),
      /:6:29: error: spec\.jwtRules\[0\]\.audiences\[0\]: expected a string that is not empty/,
    ],
    [
      'a URL of another scheme',
      rule('jwksUri: "file:///etc/passwd"'),
      'p.yaml:6:26: error: spec.jwtRules[0].jwksUri: expected a URL such as https://issuer.example/jwks.json, found "file:///etc/passwd"',
    ],
    ['no URL', rule(String.raw`jwksUri: 'hTPp\\\blah'`), /:6:26: error: .*jwksUri: expected a URL/],
    ['a URL without host', rule('jwksUri: "https:///x"'), /:6:26: error: .*jwksUri: expected a URL/],
    [
      'a URL with a password',
      rule('jwksUri: "https://a:b@issuer.example/"'),
      'p.yaml:6:26: error: spec.jwtRules[0].jwksUri: expected a URL without user name and password',
    ],
    ['no JSON', rule('jwks: "{"'), /:6:23: error: .*jwks: expected a JSON object such as/],
    ['no object', rule('jwks: "[]"'), /:6:23: error: .*jwks: expected a JSON object such as/],
    ['no keys', rule('jwks: "{}"'), /:6:23: error: .*jwks: expected "keys" to be a list/],
    [
      'a key without kty',
      rule(`jwks: '{"keys":[{"n":""}]}'`),
      /:6:23: error: .*expected each of the keys to be an object/,
    ],
    [
      'too many keys',
      rule(`jwks: '{"keys":[${Array.from({ length: 101 }, () => '{"kty":"EC"}').join()}]}'`),
      'p.yaml:6:23: error: spec.jwtRules[0].jwks: expected at most 100 keys, found 101',
    ],
    [
      'a header without name',
      rule('fromHeaders: [{prefix: x}]'),
      /:6:31: error: .*fromHeaders\[0\]: the field "name" is required/,
    ],
    [
      'an empty header name',
      rule('fromHeaders: [{name: ""}]'),
      /:6:38: error: .*name: expected a string that is not empty/,
    ],
    [
      'an empty parameter',
      rule('fromParams: [""]'),
      /:6:30: error: .*fromParams\[0\]: expected a string that is not empty/,
    ],
    [
      'an empty cookie',
      rule('fromCookies: [""]'),
      /:6:31: error: .*fromCookies\[0\]: expected a string that is not empty/,
    ],
    [
      'a header that cannot be written',
      rule('outputPayloadToHeader: "a b"'),
      'p.yaml:6:40: error: spec.jwtRules[0].outputPayloadToHeader: expected a header name of letters, digits, "-" and "_", found "a b"',
    ],
    [
      'a pseudo header for a claim',
      rule('outputClaimToHeaders: [{header: ":authority", claim: sub}]'),
      /:6:49: error: .*header: expected a header name of letters/,
    ],
    [
      'a header without claim',
      rule('outputClaimToHeaders: [{header: a}]'),
      /:6:40: error: .*outputClaimToHeaders\[0\]: the field "claim" is required/,
    ],
    [
      'nothing for a claim',
      rule('outputClaimToHeaders: [~]'),
      /:6:40: error: .*expected a map, found nothing/,
    ],
    [
      'no duration',
      rule('timeout: apple'),
      'p.yaml:6:26: error: spec.jwtRules[0].timeout: expected a duration such as 5s, 500ms or 1m30s, found "apple"',
    ],
    ['no time', rule('timeout: 0s'), /timeout: expected at least 1ms, found "0s"/],
    [
      'a part of a millisecond',
      rule('timeout: 1.5ms'),
      /timeout: expected whole milliseconds, found "1\.5ms"/,
    ],
    ['no boolean', rule('forwardOriginalToken: "true"'), /:6:39: error: .*expected true or false/],
    ['an empty claim name', rule('spaceDelimitedClaims: [""]'), /:6:40: error: .*expected a string that is/],
    [
      'two ways to attach',
      `${head}spec:\n  selector: {matchLabels: {a: b}}\n  targetRefs: [{kind: Service, name: s}]\n`,
      'p.yaml:5:3: error: spec.selector: expected only one of selector and targetRefs',
    ],
    [
      'an empty selector beside a target',
      `${head}spec:\n  selector: {}\n  targetRef: {kind: Service, name: s}\n`,
      'p.yaml:5:3: error: spec.selector: expected only one of selector and targetRefs',
    ],
    [
      'too many targets',
      `${head}spec:\n  targetRefs: [${Array.from({ length: 17 }, (_, n) => `{kind: Service, name: s${n}}`).join()}]\n`,
      'p.yaml:5:15: error: spec.targetRefs: expected at most 16 references, found 17',
    ],
    ['another kind', head.replace('kind: R', 'kind: X'), /:2:7: error: kind: expected one of RequestAuth/],
    ['another version', head.replace('/v1', '/v2'), /:1:13: error: apiVersion: expected one of/],
  ])('says where the mistake is: %s', (_, text, expected) => {
    const { policy, lines } = read(text)
    expect(policy).toBeUndefined()
    expect(lines).toEqual([typeof expected === 'string' ? expected : expect.stringMatching(expected)])
  })

  it.each([
    [
      'a header that cannot be sent',
      'fromHeaders: [{name: "a b"}]',
      /warning: .*no request can have a header/,
    ],
    ['a cookie that cannot be sent', 'fromCookies: ["a=b"]', /warning: .*no request can have a cookie/],
    ['a key set without keys', `jwks: '{"keys":[]}'`, /warning: .*every token is refused/],
    ['a key that is no set', `jwks: '{"kty":"EC"}'`, /warning: .*a single key is no key set/],
  ])('warns of what Istio takes and is of no use: %s', (_, fields, expected) => {
    const { policy, lines } = read(rule(fields))
    expect(policy).toBeDefined()
    expect(lines).toEqual([expect.stringMatching(expected)])
  })

  it('finds every mistake in one pass and shows no key', () => {
    const { lines } = read(rule(`jwks: "not-json-${'k'.repeat(40)}", timeout: x, fromParams: [""]`))
    expect(lines).toHaveLength(3)
    expect(lines.join()).not.toContain('kkkk')
  })
})
