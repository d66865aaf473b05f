/** Where our Workload API server's socket may lie, and what that says of who comes through it. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, lstat, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Credentials } from '@ambient/core'
import { afterEach, describe, expect, it } from 'vitest'
import {
  attestBySelectors,
  createWorkloadApiServer,
  createWorkloadApiSource,
  type WorkloadApiServerOptions,
  type WorkloadApiSource,
  type WorkloadCaller,
} from '../src/index.ts'
import { startWorkloadApi, WEB, type WorkloadApiBench } from './workload-api-bench.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function bench(): Promise<WorkloadApiBench> {
  const started = await startWorkloadApi()
  closers.push(() => started.close())
  return started
}

function sourceOf(address: string): WorkloadApiSource {
  const source = createWorkloadApiSource({ address })
  closers.push(() => source.close())
  return source
}

describe('the socket', () => {
  const folderFor = async (mode = 0o700): Promise<string> => {
    const folder = await mkdtemp(join(tmpdir(), 'ambient-wl-'))
    closers.push(() => rm(folder, { recursive: true, force: true }))
    await chmod(folder, mode)
    return folder
  }
  const serverAt = async (
    path: string,
    options: Partial<WorkloadApiServerOptions> = {},
  ): Promise<ReturnType<typeof createWorkloadApiServer>> => {
    const { manager } = await bench()
    const server = createWorkloadApiServer({
      listen: `unix://${path}`,
      attest: () => [{ id: WEB }],
      credentials: manager,
      ...options,
    })
    closers.push(() => server.close())
    return server
  }

  it('has the mode that was asked for, and is removed at the end', async () => {
    const path = join(await folderFor(), 'a.sock')
    const own = await serverAt(path)
    await own.start()
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    await own.close()
    await own.close()
    await expect(lstat(path)).rejects.toThrow('ENOENT')
    await expect(own.start()).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_CLOSED' })
    const everybodys = await serverAt(path, { socketMode: 0o666 })
    await everybodys.start()
    expect((await stat(path)).mode & 0o777).toBe(0o666)
  })

  it('takes the place of one that was left behind, and of nothing else', async () => {
    const path = join(await folderFor(), 'a.sock')
    await promisify(execFile)(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]).catch(() => {})
    expect((await lstat(path)).isSocket()).toBe(true)
    const server = await serverAt(path)
    await server.start()
    expect((await sourceOf(`unix://${path}`).get()).id.uri).toBe(WEB.uri)
    const second = await serverAt(path)
    await expect(second.start()).rejects.toMatchObject({
      code: 'AMBIENT_E_WORKLOAD_API_LISTEN',
      message: expect.stringContaining('another server listens there'),
    })
    expect((await sourceOf(`unix://${path}`).get()).id.uri).toBe(WEB.uri)
    const file = join(await folderFor(), 'file')
    await writeFile(file, 'mine')
    await expect((await serverAt(file)).start()).rejects.toThrow('something else than a socket lies there')
    expect((await stat(file)).size).toBe(4)
  })

  it('of another server that took the name is not removed', async () => {
    const path = join(await folderFor(), 'a.sock')
    const server = await serverAt(path)
    await server.start()
    const other = createServer()
    await new Promise<void>(resolve => other.listen(`${path}.new`, resolve))
    await rename(`${path}.new`, path)
    await server.close()
    expect((await lstat(path)).isSocket()).toBe(true)
    await new Promise(resolve => other.close(resolve))
  })

  it('does not lie where others could replace it', async () => {
    const open = await folderFor(0o777)
    await expect((await serverAt(join(open, 'a.sock'))).start()).rejects.toThrow(
      `others than its owner may write to the folder ${open}`,
    )
    const above = await folderFor(0o777)
    await mkdir(join(above, 'own'), { mode: 0o700 })
    await expect((await serverAt(join(above, 'own', 'a.sock'))).start()).rejects.toThrow(
      'others than its owner may write to the folder',
    )
    await expect((await serverAt('/nosuch/folder/a.sock')).start()).rejects.toMatchObject({
      code: 'AMBIENT_E_WORKLOAD_API_LISTEN',
    })
  })

  it('is the only kind that is served', async () => {
    const { manager } = await bench()
    for (const listen of ['tcp://127.0.0.1:1', [], ['unix:///a', 'unix:///a']])
      expect(() => createWorkloadApiServer({ attest: () => [], credentials: manager, listen })).toThrow(
        expect.objectContaining({ code: 'AMBIENT_E_IDENTITY_OPTION' }),
      )
  })

  it('in a folder of one user says who comes through it; in one that others may enter it does not', async () => {
    const seen: WorkloadCaller[] = []
    const facts = async (mode: number): Promise<WorkloadCaller | undefined> => {
      const path = join(await folderFor(mode), 'a.sock')
      const server = await serverAt(path, {
        peerCredentials: 'never',
        attest: caller => {
          seen.push(caller)
          return [{ id: WEB }]
        },
      })
      await server.start()
      await sourceOf(`unix://${path}`).get()
      return seen.at(-1)
    }
    const uid = process.getuid?.()
    expect(await facts(0o700)).toEqual({ socket: expect.any(String), evidence: 'socket-folder', uid })
    expect(await facts(0o755)).toEqual({ socket: expect.any(String), evidence: 'none' })
  })

  it("is not one user's alone: more than 256 connections of one are refused, until some of them end", async () => {
    const path = join(await folderFor(), 'a.sock')
    await (await serverAt(path)).start()
    const open = async (): Promise<Socket> => {
      const socket = connect({ path })
      socket.on('error', () => {})
      await once(socket, 'connect')
      return socket
    }
    const sockets = await Promise.all(Array.from({ length: 256 }, open))
    // A server speaks first in HTTP/2: every one of them was taken.
    await Promise.all(sockets.map(socket => once(socket, 'data')))
    const refused = await open()
    refused.resume()
    await once(refused, 'close')
    for (const socket of sockets) socket.destroy()
    // It may be asked again before it has seen the ends.
    const first = await new Promise<Credentials>(resolve => sourceOf(`unix://${path}`).watch(resolve))
    expect(first.id.uri).toBe(WEB.uri)
  })

  it('tells by the kernel who connects, where koffi is installed', async () => {
    const path = join(await folderFor(), 'a.sock')
    const seen: WorkloadCaller[] = []
    const pid = process.pid
    const policy = attestBySelectors([{ id: WEB, selectors: { pid } }])
    const server = await serverAt(path, {
      peerCredentials: 'require',
      attest(caller) {
        seen.push(caller)
        return policy(caller)
      },
    })
    await server.start()
    expect((await sourceOf(`unix://${path}`).get()).id.uri).toBe(WEB.uri)
    expect(seen.at(-1)).toEqual({
      socket: path,
      evidence: 'peer-credentials',
      uid: process.getuid?.(),
      gid: process.getgid?.(),
      pid,
    })
  })

  const isRoot = process.getuid?.() === 0
  it.skipIf(!isRoot)(
    `of another user lets in that user and no other${isRoot ? '' : ' (needs root)'}`,
    async () => {
      const folder = await folderFor()
      const own = join(folder, 'web')
      await chmod(folder, 0o711)
      await mkdir(own, { mode: 0o700 })
      await chown(own, 12_345, 12_345)
      const path = join(own, 'a.sock')
      const seen: WorkloadCaller[] = []
      const policy = attestBySelectors([{ id: WEB, selectors: { uid: 12_345 } }])
      const server = await serverAt(path, {
        socketMode: 0o666,
        peerCredentials: 'never',
        attest(caller) {
          seen.push(caller)
          return policy(caller)
        },
      })
      await server.start()
      const connects = (uid: number): Promise<string> =>
        promisify(execFile)(
          process.execPath,
          [
            '-e',
            `require('node:net').connect(${JSON.stringify(path)}).on('connect', () => { console.log('in'); process.exit() }).on('error', e => { console.log(e.code); process.exit() })`,
          ],
          { uid, gid: uid, cwd: '/' },
        ).then(({ stdout }) => stdout.trim())
      expect(await connects(12_345)).toBe('in')
      expect(await connects(12_346)).toBe('EACCES')
      expect((await sourceOf(`unix://${path}`).get()).id.uri).toBe(WEB.uri)
      expect(seen.at(-1)).toMatchObject({ uid: 12_345, evidence: 'socket-folder' })
      // Its owner could swap it for a link to anywhere.
      await chmod(folder, 0o1777)
      await expect((await serverAt(join(own, 'b.sock'))).start()).rejects.toThrow(
        `others than its owner may write to the folder ${folder}`,
      )
      await chmod(folder, 0o711)
      await chown(folder, 12_345, 12_345)
      await expect((await serverAt(join(own, 'b.sock'))).start()).rejects.toThrow(
        `the folder ${folder} belongs to user 12345`,
      )
    },
  )
})
