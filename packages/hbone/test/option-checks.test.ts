/** What callers without types give is refused by the name of the option, and never by a TypeError from the inside. */
import {
  connect,
  createDoubleHbonePool,
  createHbonePool,
  createHboneServer,
  HboneError,
  tunnelsVia,
} from '@ambient/hbone'
import { createConnectProxy } from '@ambient/hbone/connect-proxy'
import { createHboneChannelCredentials } from '@ambient/hbone/grpc'
import { createHboneAgent, createHboneHttpsAgent } from '@ambient/hbone/http'
import { createSocksListener } from '@ambient/hbone/socks'
import { createHboneDispatcher } from '@ambient/hbone/undici'
import { expect, it } from 'vitest'
import { db, failure, web } from './harness.ts'

const open = (): never => expect.unreachable()
const pool = createHbonePool({ dial: open })
const to = { address: '127.0.0.1', port: 1 }
const request = { credentials: web, to, expect: [db.id], authority: 'db:5432' }
const via = { pool, credentials: () => web, to, expect: [db.id] }
const serving = { credentials: () => db, onTunnel: open }
const local = { open, listen: { host: '127.0.0.1', port: 0 } }
const double = createDoubleHbonePool({ outer: pool })
const inner = { ...request, gateway: { expect: [db.id] } }

/** The function called as JavaScript would: with anything. */
const loose = (f: unknown) => (options: unknown) =>
  typeof f === 'function' ? (Reflect.apply(f, undefined, [options]) as unknown) : undefined
const given = (base: object, over: object): object => ({ ...base, ...over })
const aText = 'spiffe://cluster.local/ns/shop/sa/db'
const anAddress = "{ address: '10.0.0.7', port: 15008 }"
const aListen = "{ host: '127.0.0.1', port: 1080 }"
const anId = 'a SpiffeId (parseSpiffeId() of @ambient/core makes one)'

it.each([
  ['tunnelsVia', tunnelsVia, undefined, 'options: expected an object, found undefined'],
  [
    'tunnelsVia',
    tunnelsVia,
    given(via, { to: '127.0.0.1:15008' }),
    `to: expected ${anAddress}, found "127.0.0.1:15008"`,
  ],
  [
    'tunnelsVia',
    tunnelsVia,
    given(via, { to: { host: '127.0.0.1', port: 1 } }),
    `to: expected ${anAddress}, found an object with host, port`,
  ],
  [
    'tunnelsVia',
    tunnelsVia,
    given(via, { expect: [aText] }),
    `expect[0]: expected ${anId}, found "${aText}"`,
  ],
  ['tunnelsVia', tunnelsVia, given(via, { pool: undefined }), 'pool: expected a pool'],
  [
    'tunnelsVia',
    tunnelsVia,
    given(via, { credentials: web }),
    'credentials: expected a function, found an object',
  ],
  [
    'tunnelsVia',
    tunnelsVia,
    given(via, { headers: { baggage: 'a=b' } }),
    'headers: expected an array of [name, value], found an object with baggage',
  ],
  [
    'createSocksListener',
    createSocksListener,
    given(local, { listen: '127.0.0.1:1080' }),
    `listen: expected ${aListen}, found "127.0.0.1:1080"`,
  ],
  [
    'createConnectProxy',
    createConnectProxy,
    given(local, { listen: '127.0.0.1:1080' }),
    `listen: expected ${aListen}, found "127.0.0.1:1080"`,
  ],
  [
    'createConnectProxy',
    createConnectProxy,
    given(local, { checkLogin: 'secret' }),
    'checkLogin: expected a function',
  ],
  ['createSocksListener', createSocksListener, given(local, { open: pool }), 'open: expected a function'],
  [
    'createHboneServer',
    createHboneServer,
    given(serving, { credentials: web }),
    'credentials: expected a function, found an object with id, ',
  ],
  [
    'createHboneServer',
    createHboneServer,
    given(serving, { onTunnel: 1 }),
    'onTunnel: expected a function, found 1',
  ],
  [
    'createHboneServer',
    createHboneServer,
    given(serving, { onFailure: [] }),
    'onFailure: expected a function, found an',
  ],
  ['createDoubleHbonePool', createDoubleHbonePool, {}, 'outer: expected a pool'],
  ['createHboneAgent', createHboneAgent, {}, 'open: expected a function, found undefined'],
  ['createHboneHttpsAgent', createHboneHttpsAgent, {}, 'open: expected a function, found undefined'],
  ['createHboneDispatcher', createHboneDispatcher, {}, 'open: expected a function, found undefined'],
  [
    'createHboneChannelCredentials',
    createHboneChannelCredentials,
    {},
    'open: expected a function, found undefined',
  ],
])('%s says which option is not what it has to be (%#)', (_name, create, options, message) => {
  const error = expectThrown(() => loose(create)(options))
  expect(error.code).toBe('AMBIENT_E_HBONE_OPTION')
  expect(error.message).toContain(message)
})

it.each([
  ['expect', { expect: undefined }, 'expect: expected an array of SPIFFE IDs, found undefined'],
  ['expect', { expect: [db.id, aText] }, `expect[1]: expected ${anId}, found "${aText}"`],
  [
    'authority',
    { authority: undefined },
    "authority: expected a text such as 'db.shop:5432', found undefined",
  ],
  ['to', { to: undefined }, `to: expected ${anAddress}, found undefined`],
  ['to', { to: { address: '127.0.0.1', port: '15008' } }, `to: expected ${anAddress}, found an object with`],
  ['credentials', { credentials: () => web }, 'credentials: expected Credentials'],
  ['headers', { headers: 'baggage: a' }, 'headers: expected an array of [name, value]'],
])('a tunnel asked for with another %s is not dialled (%#)', async (_name, over, message) => {
  for (const ask of [connect, pool.connect.bind(pool), double.connect.bind(double)]) {
    const error = await failure(Promise.resolve(loose(ask)(given(inner, { ...over, dial: open }))))
    expect(error.code).toBe('AMBIENT_E_HBONE_OPTION')
    expect(error.message).toContain(message)
  }
})

it('a gateway without its identities is said so', async () => {
  const error = await failure(Promise.resolve(loose(double.connect.bind(double))(request)))
  expect(error.message).toBe('gateway.expect: expected an array of SPIFFE IDs, found undefined')
})

it('a key that was given in the wrong place is not shown', () => {
  const key = `-----BEGIN PRIVATE KEY-----\n${'x'.repeat(20)}\n`
  const error = expectThrown(() => loose(createHboneServer)(given(serving, { credentials: key })))
  expect(error.message).toBe('credentials: expected a function, found a text of 49 characters')
})

function expectThrown(run: () => unknown): HboneError {
  try {
    run()
  } catch (error) {
    if (error instanceof HboneError) return error
    throw error
  }
  return expect.unreachable('nothing was thrown')
}
