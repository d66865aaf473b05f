/** The SOCKS5 front door: the secrets that prove workloads, and its deadline. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { checkSecret } from '../src/outbound/capture/secrets.ts'
import { acceptSocks } from '../src/outbound/capture/socks5.ts'
import { cleanup, socketPair } from './sockets.ts'

describe('the front door', () => {
  it('gives up on a client that is silent for too long', async () => {
    const clock = createManualClock()
    const { accepted } = await socketPair()
    const slow = acceptSocks(accepted, { clock })
    clock.advance(5_000)
    await expect(slow).rejects.toThrow('within 5000 ms')
    expect(clock.pending).toBe(0)
  })
})

describe('secrets', () => {
  async function question(secret: string | undefined, mode = 0o600) {
    const directory = await mkdtemp(join(tmpdir(), 'secrets-'))
    cleanup(() => rm(directory, { recursive: true }))
    if (secret !== undefined) {
      await writeFile(join(directory, 'shop.web-1'), secret)
      await chmod(join(directory, 'shop.web-1'), mode)
    }
    return (username: string, password: string) =>
      checkSecret({ directory, namespace: 'shop', name: 'web-1', username, password, logger: silentLogger })
  }

  it('prove exactly the workload that they were given to', async () => {
    const check = await question('s3cret\n')
    expect(await check('shop/web-1', 's3cret')).toBe(true)
    expect(await check('shop/web-1', 's3cre')).toBe(false)
    expect(await check('shop/web-2', 's3cret')).toBe(false)
    expect(await check('shop/../web-1', 's3cret')).toBe(false)
    expect(await check('shop/web-1', '')).toBe(false)
  })

  it('that are missing, empty or open to others prove nothing', async () => {
    expect(await (await question(undefined))('shop/web-1', 'x')).toBe(false)
    expect(await (await question(''))('shop/web-1', '')).toBe(false)
    expect(await (await question('s3cret', 0o644))('shop/web-1', 's3cret')).toBe(false)
  })
})
