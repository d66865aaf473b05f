/** Our client when the server is away, refuses, or is no server; and where servers may be. */
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { status } from '@grpc/grpc-js'
import type { Credentials } from '@ambient/core'
import { beforeAll, describe, expect, it } from 'vitest'
import { createWorkloadApiSource } from '../src/index.ts'
import { createTestIdentities } from '../src/testing/index.ts'
import { readWorkloadApiAddress } from '../src/workload-api/address.ts'
import { streamRetryDelay } from '../src/workload-api/follow-stream.ts'
import { closers, codeOf, next, pair, WEB } from './workload-api-pair.ts'
import { end, send, svidOf } from './workload-api-script.ts'

let web: Credentials

beforeAll(async () => {
  web = await (await createTestIdentities()).credentials(WEB)
})

describe('addresses', () => {
  it.each(['unix:///run/spire/agent.sock', 'tcp://127.0.0.1:8081', 'tcp://[::1]:1', 'unix:///a b'])(
    '%s is one',
    text => expect(readWorkloadApiAddress(text).text).toBe(text),
  )
  it.each([
    '',
    '/run/agent.sock',
    'unix:run/agent.sock',
    'unix:/run/agent.sock',
    'unix://run/agent.sock',
    'unix://localhost/run/agent.sock',
    'unix://user@/run/agent.sock',
    'unix:///',
    'unix:///run/agent.sock?x=1',
    'unix:///run/agent.sock#f',
    'unix:///run/%61',
    `unix:///${'a'.repeat(107)}`,
    'unix:///a\0b',
    'tcp://localhost:8081',
    'tcp://127.0.0.1',
    'tcp://127.0.0.1:0',
    'tcp://127.0.0.1:08081',
    'tcp://127.0.0.1:65536',
    'tcp://127.0.0.1:1/',
    'tcp://127.0.0.1:1?x',
    'tcp://127.0.0.1:1#f',
    'tcp://user@127.0.0.1:1',
    'tcp://[127.0.0.1]:1',
    'tcp://::1:1',
    'tcp://[fe80::1%25lo]:1',
    'tcp:127.0.0.1:1',
    'http://127.0.0.1:1',
    'UNIX:///run/agent.sock',
  ])('%j is none', text =>
    expect(() => readWorkloadApiAddress(text)).toThrow(
      expect.objectContaining({ code: 'AMBIENT_E_IDENTITY_OPTION' }),
    ),
  )
})

describe('when the server does not answer', () => {
  it.each([status.INVALID_ARGUMENT, status.UNIMPLEMENTED])('status %s is final', async code => {
    const { server, source, clock } = await pair({ onCall: call => end(call, code, 'never again') })
    await expect(source.get()).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_UNAVAILABLE',
      message: expect.stringContaining('never again'),
    })
    expect(clock.pending).toBe(0)
    expect(server.calls).toHaveLength(1)
  })

  it('any other status is tried again: 1 s, 2 s, up to 30 s, then it is as if nothing had been', async () => {
    const codes = [
      status.UNAVAILABLE,
      status.PERMISSION_DENIED,
      status.INTERNAL,
      status.UNKNOWN,
      status.RESOURCE_EXHAUSTED,
      status.UNAUTHENTICATED,
    ]
    const { source, clock, warned, server } = await pair({
      onCall: (call, count) => {
        const code = codes[count - 1]
        if (code === undefined) send(call, { svids: [svidOf(web)] })
        else end(call, code)
      },
    })
    const waits = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]
    let failed = warned()
    const first = source.get()
    expect(await codeOf(first)).toBe('AMBIENT_E_IDENTITY_UNAVAILABLE')
    for (const [index, wait] of waits.entries()) {
      await failed
      expect(await codeOf(source.get())).toBe('AMBIENT_E_IDENTITY_UNAVAILABLE')
      clock.advance(wait - 1)
      expect(server.calls).toHaveLength(index + 1)
      failed = warned()
      const got = next(source)
      clock.advance(1)
      if (index === waits.length - 1) expect((await got).id.uri).toBe(WEB)
    }
    expect([1, 2, 6, 7, 99].map(n => streamRetryDelay(n, 0.5))).toEqual([
      1_000, 2_000, 30_000, 30_000, 30_000,
    ])
    expect([0, 1].map(random => streamRetryDelay(1, random))).toEqual([800, 1_200])
  })

  it('a stream that ends cleanly is opened again at once, one that always does is not', async () => {
    const { source, clock, server } = await pair({
      onCall: call => {
        send(call, { svids: [svidOf(web)] })
        call.end()
      },
    })
    const second = new Promise<void>(resolve => {
      server.next().then(() => server.next().then(() => resolve()))
    })
    const before = await source.get()
    await second
    await expect.poll(() => clock.pending).toBe(1)
    expect(server.calls).toHaveLength(2)
    expect(source.current()).toBe(before)
    const third = server.next()
    clock.advance(1_000)
    await third
  })

  it('nothing within 30 s is no answer', async () => {
    const { source, clock, server } = await pair()
    const called = server.next()
    const waiting = codeOf(source.get())
    const call = await called
    const cancelled = once(call, 'cancelled')
    clock.advance(30_000)
    expect(await waiting).toBe('AMBIENT_E_IDENTITY_UNAVAILABLE')
    await cancelled
    const again = server.next()
    clock.advance(1_000)
    await again
  })

  it('says what lies where the socket should be, and finds the one that comes later', async () => {
    const { server } = await pair()
    const path = `${server.socket}.file`
    await writeFile(path, '')
    for (const [address, words] of [
      [`unix://${path}`, 'what lies there is not a socket'],
      [`unix://${server.socket}.none`, 'there is no such socket'],
    ] as const) {
      const source = createWorkloadApiSource({ address })
      closers.push(() => source.close())
      await expect(source.get()).rejects.toThrow(words)
    }
  })
})
