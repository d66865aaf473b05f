/** Tokens at a real waypoint: who passes, who is refused and how, what policies and services see of them. */
import { execFileSync } from 'node:child_process'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createConfigStore } from '@ambient/discovery'
import { type AuthorizationPolicy, parsePolicies, type RequestAuthentication } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { httpProvider, join as joinMesh, mesh } from './ext-authz-world.ts'
import { cleanup, createWorld, loopbackAddress, type World, type WorldOptions } from './world.ts'

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
const keys = JSON.stringify({ keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid: 'k' }] })
const issuer = 'https://issuer.example'
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

function token(payload: object = {}, alg = 'RS256'): string {
  const claims = { iss: issuer, sub: 'someone', aud: 'web', exp: 4_000_000_000, ...payload }
  const signed = `${encode({ alg, kid: 'k' })}.${encode(claims)}`
  const signature =
    alg === 'RS256'
      ? sign('sha256', Buffer.from(signed), pair.privateKey)
      : createHmac('sha256', pair.publicKey.export({ type: 'spki', format: 'pem' }))
          .update(signed)
          .digest()
  return `${signed}.${signature.toString('base64url')}`
}

const bearer = (text: string) => ({ authorization: `Bearer ${text}` })

function documents(yaml: string) {
  return parsePolicies(yaml, 'policies.yaml')
}

function authentication(
  rule: string,
  target = '{kind: Service, name: web}',
): readonly RequestAuthentication[] {
  return documents(`apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: default}
spec: {targetRefs: [${target}], jwtRules: [{issuer: "${issuer}", ${rule}}]}
`).requestAuthentications
}

function authorization(spec: string): readonly AuthorizationPolicy[] {
  return documents(`apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: default}
spec: {targetRefs: [{kind: Service, name: web}], ${spec}}
`).authorizationPolicies
}

const inline = `jwks: '${keys}'`

async function worldWith(
  policies: readonly RequestAuthentication[],
  options: WorldOptions = {},
): Promise<{ readonly world: World; readonly seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = []
  const world = await createWorld({
    protocol: 'HTTP11',
    app: (request, response) => {
      seen.push(request)
      response.end('hello')
    },
    ...options,
  })
  world.store.set({ requestAuthentications: policies })
  return { world, seen }
}

describe('a request', () => {
  it('without token passes, with a good one too, with a bad one it does not', async () => {
    const { world, seen } = await worldWith(authentication(`${inline}, audiences: [web]`))
    expect((await world.fetch('/')).status).toBe(200)
    expect((await world.fetch('/', { fields: bearer(token()) })).status).toBe(200)
    expect(seen).toHaveLength(2)
    const bad = await world.fetch('/items?a=1', { fields: bearer('a.b') })
    expect(bad).toMatchObject({
      status: 401,
      body: 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
      headers: {
        'content-type': 'text/plain',
        server: 'istio-envoy',
        'www-authenticate': 'Bearer realm="http://web/items?a=1", error="invalid_token"',
      },
    })
    expect(await world.line(/"GET \/items\?a=1 HTTP/)).toContain(
      ' 401 - jwt_authn_access_denied{Jwt_is_not_in_the_form_of_Header.Payload.Signature_with_two_dots_and_3_sections} ',
    )
    const expired = await world.fetch('/', { fields: bearer(token({ exp: 1 })) })
    expect([expired.status, expired.body]).toEqual([401, 'Jwt is expired'])
    const forged = await world.fetch('/', { fields: bearer(token({}, 'HS256')) })
    expect([forged.status, forged.body]).toEqual([401, 'Jwt verification fails'])
    const stranger = await world.fetch('/', { fields: bearer(token({ iss: 'https://other.example' })) })
    expect([stranger.status, stranger.body]).toEqual([401, 'Jwt issuer is not configured'])
    const forOthers = await world.fetch('/', { fields: bearer(token({ aud: 'shop' })) })
    expect([forOthers.status, forOthers.body]).toEqual([403, 'Audiences in Jwt are not allowed'])
    expect(seen).toHaveLength(2)
  })

  it('reaches the service without its token, with what the rule tells, and with nothing that claims to be', async () => {
    const { world, seen } = await worldWith(
      authentication(
        `${inline}, outputPayloadToHeader: x-payload, outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-team, claim: org.team}]`,
      ),
    )
    const spoofed = { 'x-sub': 'root', 'x-team': 'admins', 'x-payload': 'e30' }
    const text = token({ org: { team: 'blau – ä' } })
    await world.fetch(`/items?b=%20x+y&access_token=${text}&a=1`, { fields: spoofed })
    await world.fetch('/', { fields: { ...spoofed, ...bearer(text) } })
    await world.fetch('/', { fields: spoofed })
    const [query, header, nobody] = seen
    expect(query?.url).toBe('/items?b=%20x+y&a=1')
    for (const request of [query, header])
      expect(request?.headers).toMatchObject({
        'x-payload': text.split('.')[1],
        'x-sub': 'someone',
        'x-team': Buffer.from('blau – ä').toString('latin1'),
      })
    expect(header?.headers).not.toHaveProperty('authorization')
    for (const name of Object.keys(spoofed)) expect(nobody?.headers).not.toHaveProperty(name)
  })

  it('keeps its token where the rule says so, and loses a cookie where it does not', async () => {
    const { world, seen } = await worldWith(authentication(`${inline}, forwardOriginalToken: true`))
    await world.fetch('/', { fields: bearer(token()) })
    expect(seen[0]?.headers.authorization).toMatch(/^Bearer /)
    world.store.set({ requestAuthentications: authentication(`${inline}, fromCookies: [session]`) })
    await world.fetch('/', { fields: { cookie: `a=1; session=${token()}; b=2` } })
    expect(seen[1]?.headers.cookie).toBe('a=1; b=2')
  })

  it('is asked about as it came: what its token leaves out or adds asks nobody', async () => {
    const rules = `rules: [{when: [{key: "request.headers[authorization]", notValues: ["*"]}]},
      {when: [{key: "request.headers[x-user]", values: ["*"]}]}]`
    const { world, seen } = await worldWith(
      authentication(`${inline}, outputClaimToHeaders: [{header: x-user, claim: sub}]`),
      {
        policies: authorization(`action: CUSTOM, provider: {name: opa}, ${rules}`),
        meshConfig: mesh({ kind: 'Http' }),
      },
    )
    const provider = await httpProvider((_request, response) => void response.writeHead(418).end())
    joinMesh(world, provider)
    expect((await world.fetch('/', { fields: bearer(token()) })).status).toBe(200)
    expect([provider.requests.length, seen[0]?.headers['x-user']]).toEqual([0, 'someone'])
    expect((await world.fetch('/')).status).toBe(418)
    expect((await world.fetch('/', { fields: { ...bearer(token()), 'x-user': 'me' } })).status).toBe(418)
  })

  it('of gRPC is refused as UNAUTHENTICATED, of another audience as PERMISSION_DENIED', async () => {
    const { world } = await worldWith(authentication(`${inline}, audiences: [web]`))
    const ask = async (text: string): Promise<unknown> => {
      const fields = { ...bearer(text), 'content-type': 'application/grpc' }
      const { status, headers } = await world.fetch('/s/M', { method: 'POST', fields })
      return [status, headers['grpc-status'], decodeURIComponent(String(headers['grpc-message']))]
    }
    expect(await ask(token({ exp: 1 }))).toEqual([200, '16', 'Jwt is expired'])
    expect(await ask(token({ aud: 'x' }))).toEqual([200, '7', 'Audiences in Jwt are not allowed'])
  })

  it('that is a preflight passes whatever it carries', async () => {
    const { world } = await worldWith(authentication(inline))
    const fields = { origin: 'http://o', 'access-control-request-method': 'GET', ...bearer('x') }
    expect((await world.fetch('/', { method: 'OPTIONS', fields })).status).toBe(200)
    expect((await world.fetch('/', { method: 'GET', fields })).status).toBe(401)
  })
})

describe('policies', () => {
  it.each([
    [`rules: [{from: [{source: {requestPrincipals: ["${issuer}/someone"]}}]}]`, true],
    [`rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]`, true],
    [`rules: [{from: [{source: {requestPrincipals: ["${issuer}/other"]}}]}]`, false],
    [`rules: [{when: [{key: "request.auth.claims[groups]", values: [ops]}]}]`, true],
    [`rules: [{when: [{key: "request.auth.claims[scope]", values: [write]}]}]`, true],
    [`rules: [{when: [{key: "request.auth.claims[roles]", values: [admin]}]}]`, true],
    [`rules: [{when: [{key: "request.auth.claims[org][team]", values: [blue]}]}]`, true],
    [`rules: [{when: [{key: "request.auth.claims[org][team]", values: [red]}]}]`, false],
    [`rules: [{when: [{key: request.auth.audiences, values: [web]}]}]`, true],
    [`action: DENY, rules: [{from: [{source: {notRequestPrincipals: ["*"]}}]}]`, true],
    [`action: DENY, rules: [{when: [{key: "request.auth.claims[groups]", values: [dev]}]}]`, false],
  ])('see its claims: %s', async (spec, isAllowed) => {
    const { world } = await worldWith(authentication(`${inline}, spaceDelimitedClaims: [roles]`), {
      policies: authorization(spec),
    })
    const text = token({
      groups: ['dev', 'ops'],
      scope: 'read write',
      roles: 'user admin',
      org: { team: 'blue' },
    })
    expect((await world.fetch('/', { fields: bearer(text) })).status).toBe(isAllowed ? 200 : 403)
  })

  it('ask for it: without one nobody passes, and it is not enough to have one', async () => {
    const { world } = await worldWith(authentication(inline), {
      policies: authorization(
        'rules: [{from: [{source: {requestPrincipals: ["*"]}}], to: [{operation: {paths: [/items]}}]}]',
      ),
    })
    const nobody = await world.fetch('/items')
    expect([nobody.status, nobody.body]).toEqual([403, 'RBAC: access denied'])
    expect((await world.fetch(`/items?access_token=${token()}`)).status).toBe(200)
    expect((await world.fetch('/other', { fields: bearer(token()) })).status).toBe(403)
  })

  it('do not see claims of a token that no rule of this target has verified', async () => {
    const elsewhere = authentication(inline, '{kind: Service, name: api}')
    const { world } = await worldWith(elsewhere, {
      policies: authorization('rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]'),
    })
    expect((await world.fetch('/', { fields: bearer(token()) })).status).toBe(403)
  })
})

describe('rules', () => {
  it('are followed as they change, those of the Gateway count too', async () => {
    const { world } = await worldWith([])
    const bad = { fields: bearer('x') }
    expect((await world.fetch('/', bad)).status).toBe(200)
    const gateway = '{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}'
    world.store.set({ requestAuthentications: authentication(inline, gateway) })
    expect((await world.fetch('/', bad)).status).toBe(401)
    world.store.set({ requestAuthentications: [] })
    expect((await world.fetch('/', bad)).status).toBe(200)
  })

  it('that cannot be read deny their target', async () => {
    const configuration = createConfigStore()
    const spec = { targetRefs: [{ kind: 'Service', name: 'web' }], jwtRules: [{ isuer: 'x' }] }
    const metadata = { namespace: 'default', name: 'jwt', labels: {}, annotations: {} }
    const upsert = new Map([['default/jwt', { metadata, spec }]])
    configuration.apply('security.istio.io/v1/RequestAuthentication', { upsert, remove: [] })
    const { world } = await worldWith(configuration.requestAuthentications)
    world.store.set({ authorizationPolicies: configuration.authorizationPolicies })
    expect((await world.fetch('/')).status).toBe(403)
  })
})

describe('keys that are fetched', () => {
  async function issuerAt(answer: () => string | undefined) {
    const folder = mkdtempSync(join(tmpdir(), 'issuer-'))
    cleanup(() => rmSync(folder, { recursive: true }))
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    const address = loopbackAddress()
    const subject = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=issuer -addext subjectAltName=IP:${address} -keyout ${key} -out ${cert}`
    execFileSync('openssl', subject.split(' '), { stdio: 'ignore' })
    const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, response) => {
      const body = answer()
      if (body === undefined) response.writeHead(503).end()
      else response.end(body)
    })
    await new Promise<void>(resolve => server.listen(0, address, resolve))
    cleanup(async () => {
      const closed = new Promise(resolve => server.close(resolve))
      server.closeAllConnections()
      await closed
    })
    const bound = server.address()
    const port = typeof bound === 'object' ? (bound?.port ?? 0) : 0
    return { uri: `https://${address}:${port}/keys`, cert: readFileSync(cert, 'utf8'), address }
  }

  it('verify, from an address that was allowed, with its authority', async () => {
    const { uri, cert, address } = await issuerAt(() => keys)
    const env = { ALLOWED_CIDRS_IN_JWKS_URIS: `${address}/32`, JWKS_CA_CERT: cert }
    const { world } = await worldWith(authentication(`jwksUri: "${uri}"`), { env })
    expect((await world.fetch('/', { fields: bearer(token()) })).status).toBe(200)
  })

  it('are not there: nobody with a token passes, and the log has the reason once', async () => {
    const { uri, cert, address } = await issuerAt(() => undefined)
    const env = { ALLOWED_CIDRS_IN_JWKS_URIS: `${address}/32`, JWKS_CA_CERT: cert }
    const { world } = await worldWith(authentication(`jwksUri: "${uri}"`), { env })
    for (let attempt = 0; attempt < 3; attempt++) {
      const answer = await world.fetch('/', { fields: bearer(token()) })
      expect([answer.status, answer.body]).toEqual([401, 'Jwks remote fetch is failed'])
    }
    expect((await world.fetch('/')).status).toBe(200)
    expect(await world.line(/keys of an issuer/)).toContain('status 503')
    expect(world.lines().filter(line => line.includes('keys of an issuer'))).toHaveLength(1)
  })

  it('are not asked for at a blocked address', async () => {
    const { uri, cert } = await issuerAt(() => keys)
    const { world } = await worldWith(authentication(`jwksUri: "${uri}"`), { env: { JWKS_CA_CERT: cert } })
    expect((await world.fetch('/', { fields: bearer(token()) })).status).toBe(401)
    expect(await world.line(/keys of an issuer/)).toContain('is blocked')
  })
})

it('no token is in any log', async () => {
  const { world } = await worldWith(authentication(inline))
  const good = token()
  const late = token({ exp: 1 })
  await world.fetch(`/first?access_token=${good}`)
  await world.fetch(`/second?access_token=${late}`)
  await world.line(/\/second/)
  const log = world.lines().join('\n')
  expect(log).not.toContain(good.slice(-40))
  expect(log).not.toContain(late.slice(-40))
})
