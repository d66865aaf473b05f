/** CRL_PATH and CRL_MODE of a waypoint: callers and endpoints whose certificate is withdrawn. */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cleanup, createWorld, exchange, type World } from './world.ts'

interface RevocationWorld extends World {
  /** Puts a list in place that withdraws these certificates. */
  revoke(...chains: readonly string[]): Promise<void>
}

async function revocationWorld(env: Record<string, string> = {}): Promise<RevocationWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'waypoint-crl-'))
  cleanup(() => rm(folder, { recursive: true }))
  const CRL_PATH = join(folder, 'ca-crl.pem')
  const w = await createWorld({ env: { CRL_PATH, ...env } })
  return {
    ...w,
    async revoke(...chains) {
      await writeFile(`${CRL_PATH}.next`, await w.identities.revocationList(chains))
      await rename(`${CRL_PATH}.next`, CRL_PATH)
      await w.line(/revocation lists are in force/)
    },
  }
}

describe('CRL_PATH', () => {
  it('cuts a caller that is revoked, and refuses it from then on', async () => {
    const w = await revocationWorld()
    const tunnel = await w.tunnel()
    expect((await exchange(await w.tunnel(), '/')).status).toBe(200)
    const { certificateChain } = await w.credentialsOf('client')
    const ended = new Promise(resolve => tunnel.socket().on('error', resolve).on('close', resolve))
    await w.revoke(certificateChain)
    await ended
    expect(await w.line(/sessions ended, their peers are revoked/)).toMatch(/sessions=1/)
    await expect(w.tunnel()).rejects.toThrow()
    await w.line(/a connection carried no tunnel.*was revoked by its issuer/)
    expect(await w.metrics()).toContain('istio_crl_policy_rejections_total{reporter="destination"} 1')
    expect((await w.fetch('/', { account: 'other' })).status).toBe(200)
  })

  it('answers 503 for an endpoint that is revoked', async () => {
    const w = await revocationWorld()
    expect((await w.fetch('/')).status).toBe(200)
    await w.revoke((await w.credentialsOf('server')).certificateChain)
    expect((await w.fetch('/')).status).toBe(503)
    expect(await w.metrics()).toMatch(/istio_crl_policy_rejections_total\{reporter="source"\} [1-9]/)
  })

  it('refuses everybody with CRL_MODE=require, until there is a list', async () => {
    const w = await revocationWorld({ CRL_MODE: 'require' })
    await expect(w.tunnel()).rejects.toThrow()
    await w.line(/revocation status is unknown.*no such file/)
    await w.revoke()
    expect((await w.fetch('/')).status).toBe(200)
  })
})
