/**
 * Certificates rotate under load: tunnels over real sockets carry requests without a pause while leaf, intermediate and
 * root are replaced. No request fails, and a tunnel that was open before is open afterwards.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseSpiffeId } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { createHbonePool, createHboneServer } from '@ambient/hbone'
import {
  createCertificateAuthorityFiles,
  createIdentityManager,
  createLocalSigner,
  openCertificateAuthority,
} from '@ambient/identity'
import { afterEach, describe, expect, it } from 'vitest'

const WEB = parseSpiffeId('spiffe://td.example/ns/shop/sa/web')
const DB = parseSpiffeId('spiffe://td.example/ns/shop/sa/db')

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function newMesh() {
  const dir = mkdtempSync(join(tmpdir(), 'ambient-rotation-'))
  cleanups.push(() => rmSync(dir, { recursive: true }))
  await createCertificateAuthorityFiles({ dir, trustDomain: 'td.example' })
  const ca = await openCertificateAuthority({ dir })
  const signer = createLocalSigner(ca)
  const manager = createIdentityManager({ signer })
  cleanups.push(async () => {
    await manager.close()
    await signer.close()
    await ca.close()
  })
  const failures: string[] = []
  const server = createHboneServer({
    credentials: () => manager.get(DB),
    onFailure: ({ error }) => failures.push(error.message),
    onTunnel: request => {
      const channel = request.accept()
      channel.start({
        data: bytes => channel.write(bytes),
        end: () => channel.end(),
        drained() {},
        finished() {},
        reset() {},
      })
    },
  })
  const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  const pool = createHbonePool()
  cleanups.push(async () => {
    await pool.close()
    await listener.close()
    await server.close()
  })
  const open = async () => {
    const credentials = await manager.get(WEB)
    const to = { address: listener.address, port: listener.port }
    return (await pool.connect({ credentials, to, expect: [DB], authority: '10.0.0.7:80' })).socket()
  }
  /** A tunnel of its own: a question, and the whole of the answer. */
  const request = async (text: string): Promise<void> => {
    const socket = await open()
    socket.end(text)
    let heard = ''
    for await (const bytes of socket) heard += String(bytes)
    if (heard !== text) throw new Error(`asked ${text}, heard ${heard}`)
  }
  return { ca, manager, failures, open, request }
}

/** Asks from several sides at once until told to stop. */
function load(request: (text: string) => Promise<void>, sides: number) {
  const failed: string[] = []
  let [asked, isRunning] = [0, true]
  const sidesDone = Array.from({ length: sides }, async () => {
    while (isRunning) {
      asked += 1
      await request(`question ${asked}`).catch((error: unknown) => failed.push(String(error)))
    }
  })
  return {
    failed,
    asked: () => asked,
    /** So many more were asked. */
    more: (count: number) => {
      const from = asked
      return expect.poll(() => asked - from, { timeout: 20_000 }).toBeGreaterThanOrEqual(count)
    },
    async stop() {
      isRunning = false
      await Promise.all(sidesDone)
    },
  }
}

describe('rotation under load', () => {
  it('of leaves, an intermediate and a root fails no request', { timeout: 120_000 }, async () => {
    const { ca, manager, failures, open, request } = await newMesh()
    const lasting = await open()
    const answers = lasting[Symbol.asyncIterator]()
    const ask = async (text: string): Promise<void> => {
      lasting.write(text)
      expect(String((await answers.next()).value)).toBe(text)
    }
    await ask('before')
    const traffic = load(request, 4)
    const generations = new Set<number>()
    const rotateAll = async (): Promise<void> => {
      // One after the other, as nothing in a mesh happens at once.
      for (const id of [WEB, DB]) {
        generations.add((await manager.rotate(id)).generation)
        await traffic.more(20)
      }
    }
    const steps: readonly [string, () => Promise<unknown>][] = [
      ['leaf', async () => {}],
      ['intermediate', () => ca.rotateIntermediate()],
      ['root overlap', () => ca.rotateRoot('add')],
      ['root signs', () => ca.rotateRoot('sign')],
      ['root cut', () => ca.rotateRoot('drop')],
      ['again', () => ca.rotateRoot('add')],
      ['and again', () => ca.rotateRoot('sign')],
      ['cut again', () => ca.rotateRoot('drop')],
    ]
    for (const [name, step] of steps) {
      await step()
      await rotateAll()
      await ask(name)
      expect(traffic.failed, name).toEqual([])
    }
    await traffic.stop()
    await ask('after')
    lasting.destroy()
    expect(traffic.failed).toEqual([])
    expect(failures).toEqual([])
    expect(generations.size).toBe(2 * steps.length)
    expect(traffic.asked()).toBeGreaterThan(300)
  })

  it('without the overlap is noticed: the harness can fail', { timeout: 60_000 }, async () => {
    const { ca, manager, request } = await newMesh()
    await request('before')
    await ca.rotateRoot('add')
    await ca.rotateRoot('sign')
    await ca.rotateRoot('drop')
    await manager.rotate(DB)
    // Sessions live on; a new one meets a root that this side has not heard of.
    await manager.rotate(WEB)
    await request('both know it')
    await ca.rotateRoot('add')
    await ca.rotateRoot('sign')
    await ca.rotateRoot('drop')
    await manager.rotate(WEB)
    await expect(request('only one knows it')).rejects.toThrow()
  })
})
