/**
 * The table of certificate faults by real handshakes, in both directions: our server looks at a client's chain, our client at
 * a server's. The platform checks nothing (`rejectUnauthorized: false`); what counts is our verdict, before a byte is read.
 */
import { constants } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import {
  type CommonConnectionOptions,
  connect,
  createServer,
  type SecureContextOptions,
  type TLSSocket,
} from 'node:tls'
import { type PeerVerdict, messageOf } from '@ambient/core'
import { peerChain } from '@ambient/core/node'
import { beforeAll, describe, expect, it } from 'vitest'
import { verifyPeerChain } from '../src/index.ts'
import { leaf, type Made, NOW, TRUST_DOMAIN } from './fixtures.ts'
import { createWorld, type Presented, type Row, rows, type World } from './verify-rows.ts'

/** What came of a handshake, and what was heard by the side that judges. */
interface Outcome {
  readonly verdict: PeerVerdict | { readonly noHandshake: string }
  readonly heard: string
}

type TlsOptions = SecureContextOptions & Pick<CommonConnectionOptions, 'requestCert' | 'rejectUnauthorized'>

const CANARY = 'the first byte of a tunnel'
let world: World
let ours: Made

beforeAll(async () => {
  world = await createWorld()
  ours = await leaf(world.anchor)
})

function pems(chain: readonly Made[]): { cert: string; key: string } {
  return { cert: chain.map(({ pem }) => pem).join(''), key: chain[0]?.keyPem ?? '' }
}

/** The other side is not to be stopped by its own TLS library. */
const reckless = (chain: readonly Made[]): TlsOptions => ({
  ...pems(chain),
  ciphers: 'DEFAULT:@SECLEVEL=0',
  rejectUnauthorized: false,
})

/** Ours: no roots of the platform's, no resumption. */
const careful = (): TlsOptions => ({
  ...pems([ours]),
  ca: [],
  minVersion: 'TLSv1.3',
  secureOptions: constants.SSL_OP_NO_TICKET,
  requestCert: true,
  rejectUnauthorized: false,
})

function judge(socket: TLSSocket, { bundle = [world.anchor] }: Presented): PeerVerdict {
  return verifyPeerChain({
    chain: peerChain(socket),
    trustBundle: bundle.map(made => made.pem).join(''),
    ownTrustDomain: TRUST_DOMAIN,
    federatedBundles: new Map([['other.example', world.other.pem]]),
    expect: { kind: 'own-trust-domain' },
    now: NOW,
  })
}

/** Our verdict at the moment of the handshake; then nothing more is read of a refused peer, and one chunk of a good one. */
async function decide(socket: TLSSocket, presented: Presented): Promise<Outcome> {
  const verdict = judge(socket, presented)
  if (!verdict.ok) {
    let heard = ''
    socket.on('data', (bytes: Buffer) => {
      heard += bytes.toString()
    })
    const closed = once(socket, 'close')
    socket.on('error', () => {}).destroy()
    await closed
    return { verdict, heard }
  }
  const [bytes] = await once(socket, 'data')
  socket.destroy()
  return { verdict, heard: String(bytes) }
}

/** `judged` is which side is ours. */
async function shake(side: 'server' | 'client', presented: Presented): Promise<Outcome> {
  const theirs = (): TlsOptions => reckless(presented.chain)
  const server = createServer(side === 'server' ? careful() : { ...theirs(), requestCert: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const failed = new Promise<Outcome>(resolve => {
    server.on('tlsClientError', error => resolve({ verdict: { noHandshake: error.message }, heard: '' }))
  })
  const accepted = once(server, 'secureConnection').then(([socket]) => socket as TLSSocket)
  const client = connect({ host: '127.0.0.1', port, ...(side === 'client' ? careful() : theirs()) })
  client.on('error', () => {})
  const connected = once(client, 'secureConnect').then(() => client)
  const [judging, speaking] = side === 'server' ? [accepted, connected] : [connected, accepted]
  try {
    speaking.then(
      socket => socket.on('error', () => {}).write(CANARY),
      () => {},
    )
    return await Promise.race([failed, judging.then(socket => decide(socket, presented))])
  } catch (error) {
    return { verdict: { noHandshake: messageOf(error) }, heard: '' }
  } finally {
    const gone = new Promise(resolve => client.once('close', resolve))
    if (!client.closed) {
      client.destroy()
      await gone
    }
    const closed = once(server, 'close')
    server.close()
    await closed
  }
}

async function attempt(side: 'server' | 'client', presented: Presented): Promise<Outcome> {
  try {
    return await shake(side, presented)
  } catch (error) {
    return { verdict: { noHandshake: messageOf(error) }, heard: '' }
  }
}

function expected({ refused, overTls }: Row): object {
  if (refused === undefined) return { ok: true, id: { trustDomain: TRUST_DOMAIN } }
  if (overTls === 'lost')
    return {
      ok: false,
      problem: 'untrusted',
      reason: expect.stringMatching(/^leaf .*no certificate of the trust bundle leads to it/),
    }
  return { ok: false, problem: refused.problem, reason: expect.stringMatching(refused.reason) }
}

function isUnshown(verdict: unknown): boolean {
  if (typeof verdict !== 'object' || verdict === null) return false
  return 'noHandshake' in verdict || ('problem' in verdict && verdict.problem === 'no-certificate')
}

for (const side of ['server', 'client'] as const)
  describe(`our ${side}`, () => {
    for (const row of rows)
      it(`${row.overTls === 'never' ? 'is never shown' : row.refused === undefined ? 'accepts' : 'refuses'} ${row.name}`, async () => {
        const { verdict, heard } = await attempt(side, await row.build(world))
        // A client that cannot show its certificate shows none.
        if (row.overTls === 'never') expect(verdict).toSatisfy(isUnshown)
        else expect(verdict).toMatchObject(expected(row))
        expect(heard).toBe(row.refused === undefined ? CANARY : '')
      })
  })
