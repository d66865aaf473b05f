/** gRPC at the reading room, with grpc-js as its caller. */
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { Client, credentials, Metadata, status as grpcStatus } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import { answer, type Fixture, type FixtureOptions, startFixture } from './http-fixture.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

describe('gRPC', () => {
  const identity = (bytes: Buffer): Buffer => bytes
  const message = (text: string): Buffer =>
    Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), Buffer.from(text)])

  async function startGrpc(
    options: FixtureOptions,
  ): Promise<{ readonly fixture: Fixture; readonly client: Client }> {
    fixture = await startFixture({ protocol: 'GRPC', ...options })
    return { fixture, client: new Client(`127.0.0.1:${fixture.port}`, credentials.createInsecure()) }
  }

  const unary = (
    client: Client,
  ): Promise<{ readonly code: number; readonly details: string; readonly value?: string }> =>
    new Promise(resolve => {
      const call = client.makeUnaryRequest(
        '/s/M',
        identity,
        identity,
        Buffer.from('hi'),
        new Metadata(),
        (error, value) =>
          resolve(
            error === null
              ? { code: 0, details: '', value: String(value) }
              : { code: error.code, details: error.details },
          ),
      )
      call.on('error', () => {})
    })

  it('unary and server streaming, with the status of the trailers', async () => {
    const { fixture: room, client } = await startGrpc({
      respond: order =>
        answer({
          headers: new HeaderFields([['content-type', 'application/grpc']]),
          body: Readable.from(
            order.request.path === '/s/Many' ? [message('a'), message('b')] : [message('one')],
          ),
          trailers: () =>
            new HeaderFields(
              order.request.path === '/s/Many'
                ? [
                    ['grpc-status', '5'],
                    ['grpc-message', 'no more'],
                  ]
                : [['grpc-status', '0']],
            ),
        }),
    })
    expect(await unary(client)).toEqual({ code: 0, details: '', value: 'one' })
    const call = client.makeServerStreamRequest('/s/Many', identity, identity, Buffer.from('hi'))
    const got: string[] = []
    call.on('data', value => got.push(String(value)))
    const [error] = await once(call, 'error')
    expect([got, error.code, error.details]).toEqual([['a', 'b'], grpcStatus.NOT_FOUND, 'no more'])
    await room.recorded(2)
    expect(room.ledger.map(({ outcome }) => outcome?.grpcStatus)).toEqual([0, 5])
    expect(room.ledger[0]?.start?.isGrpc).toBe(true)
    client.close()
  })

  it('a denial is PERMISSION_DENIED, an upstream that failed UNAVAILABLE, a cut one neither OK', async () => {
    let mode: 'denied' | 'failed' | 'cut' = 'denied'
    const { client } = await startGrpc({
      desk: { authorize: () => ({ allowed: mode !== 'denied', reason: 'x', detail: 'y', considered: [] }) },
      respond: () =>
        mode === 'failed'
          ? {
              kind: 'failed',
              status: 503,
              flag: 'UH',
              flags: ['UH'],
              body: 'no healthy upstream',
              detail: 'no_healthy_upstream',
              reason: '',
              endpoint: undefined,
              attempts: 0,
            }
          : answer({
              headers: new HeaderFields([['content-type', 'application/grpc']]),
              body: new Readable({
                read() {
                  this.destroy(new Error('cut'))
                },
              }),
            }),
    })
    expect(await unary(client)).toEqual({
      code: grpcStatus.PERMISSION_DENIED,
      details: 'RBAC: access denied',
    })
    mode = 'failed'
    expect(await unary(client)).toEqual({ code: grpcStatus.UNAVAILABLE, details: 'no healthy upstream' })
    mode = 'cut'
    expect((await unary(client)).code).toBe(grpcStatus.INTERNAL)
    client.close()
  })
})
