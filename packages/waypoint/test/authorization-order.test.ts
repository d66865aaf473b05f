/** Who is asked first: providers, then tokens, then policies; each sees what the one before made of the request. */
import { createHmac } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { RequestAuthentication } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { custom, grpcProvider, join, mesh } from './ext-authz-world.ts'
import { createWorld, type WorldOptions } from './world.ts'

const secret = Buffer.alloc(32, 7)
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

function token(payload: Record<string, unknown>): string {
  const signed = `${encode({ alg: 'HS256', kid: 'k' })}.${encode({ iss: 'issuer', exp: 4_000_000_000, ...payload })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

const authentication: RequestAuthentication = {
  kind: 'RequestAuthentication',
  metadata: { namespace: 'default', name: 'jwt', labels: {}, annotations: {} },
  spec: {
    targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
    jwtRules: [
      {
        issuer: 'issuer',
        jwks: JSON.stringify({
          keys: [{ kty: 'oct', kid: 'k', alg: 'HS256', k: secret.toString('base64url') }],
        }),
        outputClaimToHeaders: [{ header: 'x-team', claim: 'team' }],
      },
    ],
  },
}

async function secured(options: WorldOptions = {}) {
  const provider = await grpcProvider(request =>
    request.attributes?.request?.http?.headers['x-stop'] === undefined
      ? {
          status: { code: 0 },
          httpResponse: {
            case: 'okResponse',
            value: {
              headers: [{ header: { key: 'x-checked', value: 'yes' } }],
              responseHeadersToAdd: [{ header: { key: 'x-seen', value: 'yes' } }],
            },
          },
        }
      : { status: { code: 7 } },
  )
  const seen: IncomingMessage[] = []
  const world = await createWorld({
    protocol: 'HTTP11',
    policies: [custom(), custom('team', { action: 'ALLOW', headers: ['x-team', 'blue'] })],
    meshConfig: mesh({ kind: 'Grpc' }),
    app: (request, response) => {
      seen.push(request)
      response.end('hello')
    },
    ...options,
  })
  join(world, provider)
  world.store.set({ requestAuthentications: [authentication] })
  return { world, provider, seen }
}

const bearer = (payload: Record<string, unknown>) => ({ authorization: `Bearer ${token(payload)}` })

describe('one request', () => {
  it('passes provider, token and policy, and carries what they made of it', async () => {
    const { world, provider, seen } = await secured()
    const answer = await world.fetch('/', { fields: bearer({ team: 'blue' }) })
    expect([answer.status, answer.headers['x-seen']]).toEqual([200, 'yes'])
    expect(provider.requests[0]?.attributes?.request?.http?.headers['authorization']).toMatch(/^Bearer /)
    expect(seen[0]?.headers).toMatchObject({ 'x-checked': 'yes', 'x-team': 'blue' })
    expect(seen[0]?.headers).not.toHaveProperty('authorization')
  })

  it('that the provider refuses shows its token to nobody', async () => {
    const { world } = await secured()
    const answer = await world.fetch('/', { fields: { 'x-stop': '1', authorization: 'Bearer rubbish' } })
    expect(answer.status).toBe(403)
    expect(await world.line(/"GET \/ HTTP/)).toMatch(/ 403 UAEX ext_authz_denied /)
  })

  it('with a token that is none is refused before policies, and says so', async () => {
    const { world, provider } = await secured()
    const answer = await world.fetch('/', { fields: { authorization: 'Bearer a.b' } })
    expect([answer.status, answer.headers['www-authenticate']]).toEqual([
      401,
      expect.stringContaining('error="invalid_token"'),
    ])
    expect(provider.requests).toHaveLength(1)
    // What the provider had for the response is for this one too.
    expect(answer.headers['x-seen']).toBe('yes')
    expect(await world.line(/"GET \/ HTTP/)).toMatch(/ 401 - jwt_authn_access_denied\{/)
  })

  it('of gRPC with such a token is UNAUTHENTICATED', async () => {
    const { world } = await secured()
    const answer = await world.fetch('/s/M', {
      method: 'POST',
      fields: { authorization: 'Bearer a.b', 'content-type': 'application/grpc' },
    })
    expect([answer.status, answer.headers['grpc-status']]).toEqual([200, '16'])
  })

  it('that only the policy refuses is refused in its words', async () => {
    const { world, seen } = await secured()
    const red = await world.fetch('/', { fields: bearer({ team: 'red' }) })
    expect([red.status, red.body]).toEqual([403, 'RBAC: access denied'])
    // A header of the caller's own is no claim.
    expect((await world.fetch('/', { fields: { ...bearer({}), 'x-team': 'blue' } })).status).toBe(403)
    expect(seen).toEqual([])
  })
})
