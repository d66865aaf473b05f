/** JWT bundles and verdicts over the Workload API, from servers that do it in different ways. */
import { create } from '@bufbuild/protobuf'
import { type sendUnaryData, type ServerUnaryCall, type ServerWritableStream, status } from '@grpc/grpc-js'
import { parseSpiffeId } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { createJwtAuthority, type WorkloadApiSource } from '../src/index.ts'
import {
  type JWTBundlesRequest,
  type JWTBundlesResponse,
  JWTBundlesResponseSchema,
  type ValidateJWTSVIDRequest,
  type ValidateJWTSVIDResponse,
  ValidateJWTSVIDResponseSchema,
} from '../src/gen/workload-api_pb.ts'
import { workloadApi } from '../src/workload-api/protocol.ts'
import { pair, WEB } from './workload-api-pair.ts'
import type { startScript } from './workload-api-script.ts'

describe('JWT bundles', () => {
  type Calls = Parameters<typeof startScript>[0]
  const serving = (jwt: {
    bundles?: (call: ServerWritableStream<JWTBundlesRequest, JWTBundlesResponse>) => void
    validate?: (audience: string) => ValidateJWTSVIDResponse | ServiceFailure
  }): Calls => ({
    addTo: server =>
      server.addService(
        { bundles: workloadApi.fetchJwtBundles, validate: workloadApi.validateJwtSvid },
        {
          bundles:
            jwt.bundles ??
            ((call: ServerWritableStream<JWTBundlesRequest, JWTBundlesResponse>) =>
              void call.emit('error', { code: status.UNIMPLEMENTED, details: 'no' })),
          validate: (
            call: ServerUnaryCall<ValidateJWTSVIDRequest, ValidateJWTSVIDResponse>,
            answer: sendUnaryData<ValidateJWTSVIDResponse>,
          ) => {
            const found = jwt.validate?.(call.request.audience)
            if (found !== undefined && 'spiffeId' in found) answer(null, found)
            else answer(found ?? { code: status.UNIMPLEMENTED, details: 'no' })
          },
        },
      ),
  })
  interface ServiceFailure {
    readonly code: status
    readonly details: string
  }

  it('are plain JWKS: keys without use count, those of X.509 do not; what is missing was withdrawn', async () => {
    const authority = await createJwtAuthority({ trustDomain: 'cluster.local' })
    const keys = [...authority.authorities()].map(([kid, jwk]) => ({ ...jwk, kid }))
    const { token } = await authority.sign({ id: parseSpiffeId(WEB), audience: ['db'] })
    let live: ServerWritableStream<JWTBundlesRequest, JWTBundlesResponse> | undefined
    const answer = (document: string): JWTBundlesResponse =>
      create(JWTBundlesResponseSchema, { bundles: { 'spiffe://cluster.local': Buffer.from(document) } })
    const { source, warned } = await pair(
      serving({
        bundles: call => {
          live = call
          call.write(answer(JSON.stringify({ keys })))
        },
      }),
    )
    expect(await source.validateJwtSvid({ token, audience: 'db' })).toMatchObject({ ok: true })
    const discarded = warned()
    live?.write(answer('{'))
    expect(await discarded).toMatch(/JWT bundles were discarded: .*bundles\[cluster.local\]/)
    expect(await source.validateJwtSvid({ token, audience: 'db' })).toMatchObject({ ok: true })
    live?.write(answer(JSON.stringify({ keys: keys.map(key => ({ ...key, use: 'x509-svid' })) })))
    await expect
      .poll(() => source.validateJwtSvid({ token, audience: 'db' }))
      .toMatchObject({ problem: 'unknown-key' })
    live?.write(create(JWTBundlesResponseSchema))
    await expect
      .poll(() => source.validateJwtSvid({ token, audience: 'db' }))
      .toMatchObject({ problem: 'trust-domain' })
  })

  it('that a server does not give are not needed: it is asked for its verdict', async () => {
    const exp = Math.floor(Date.now() / 1_000) + 60
    const { source } = await pair(
      serving({
        validate: audience =>
          audience === 'db'
            ? create(ValidateJWTSVIDResponseSchema, { spiffeId: WEB, claims: { exp, sub: WEB } })
            : audience === 'old'
              ? create(ValidateJWTSVIDResponseSchema, { spiffeId: WEB, claims: { exp: 1 } })
              : { code: status.INVALID_ARGUMENT, details: 'wrong audience' },
      }),
    )
    const validate = (audience: string): ReturnType<WorkloadApiSource['validateJwtSvid']> =>
      source.validateJwtSvid({ token: 'a.b.c', audience })
    expect(await validate('db')).toMatchObject({
      ok: true,
      svid: { id: { uri: WEB }, expiresAt: exp * 1_000 },
    })
    expect(await validate('old')).toMatchObject({ ok: false, problem: 'expired' })
    expect(await validate('x')).toMatchObject({ ok: false, reason: 'JWT-SVID: wrong audience' })
  })
})
