/**
 * CRL_PATH: a list in a file withdraws certificates, of connections that live and of new ones, on the side that reads
 * the file.
 */
import { once } from 'node:events'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseHostPort } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { echo, fieldsOf, inbound, outbound, type TestNode, type World, world } from './mesh.ts'
import { cleanup, readAll, readBytes } from './sockets.ts'

interface RevocationWorld extends World {
  /** Puts a list in place that withdraws the certificates which a node holds for these accounts. */
  revoke(...accounts: readonly (readonly [TestNode, string])[]): Promise<void>
}

async function revocationWorld(env: Record<string, string> = {}): Promise<RevocationWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'ztunnel-crl-'))
  cleanup(() => rm(folder, { recursive: true }))
  const CRL_PATH = join(folder, 'ca-crl.pem')
  const w = await world(echo, { env: { CRL_PATH, ...env } })
  return {
    ...w,
    async revoke(...accounts) {
      const chains = await Promise.all(accounts.map(([node, account]) => certificateOf(node, account)))
      await writeFile(`${CRL_PATH}.next`, await w.mesh.revocationList(chains))
      await rename(`${CRL_PATH}.next`, CRL_PATH)
    },
  }
}

async function get(address: string | undefined, path: string): Promise<string> {
  const { host, port } = parseHostPort(address ?? '')
  const asked = request({ host, port, path }).end()
  const [response] = await once(asked, 'response')
  let text = ''
  for await (const piece of response.setEncoding('utf8')) text += piece
  return text
}

async function certificateOf(node: TestNode, account: string): Promise<string> {
  const dump = JSON.parse(await get(node.ztunnel.addresses().admin[0], '/config_dump')) as {
    certificates: readonly { identity: string; certChain: readonly { pem: string }[] }[]
  }
  const held = dump.certificates.find(({ identity }) => identity.endsWith(`/sa/${account}`))
  return Buffer.from(held?.certChain[0]?.pem ?? '', 'base64').toString()
}

async function metricsOf(node: TestNode): Promise<readonly string[]> {
  const text = await get(node.ztunnel.addresses().stats[0], '/metrics')
  return text.split('\n').filter(line => /^(istio|ambient)_crl_\w+/.test(line))
}

const inForce = /revocation lists are in force/

describe('CRL_PATH', () => {
  it('cuts the connections of a caller that is revoked, refuses its next one, and leaves others alone', async () => {
    const w = await revocationWorld()
    expect(await w.b.line(/there are no revocation lists yet/)).toMatch(/warn/)
    const victim = await w.mesh.connect(w.client, 'web', 80)
    const other = await w.mesh.connect(w.stranger, 'web', 80)
    for (const { socket } of [victim, other]) {
      socket.write('here')
      expect(String(await readBytes(socket, 4))).toBe('here')
    }
    await w.revoke([w.a, 'client'])
    await w.b.line(inForce)
    expect(await readAll(victim.socket)).toEqual({ text: '', end: 'reset' })
    expect(await w.mesh.record(inbound)).toMatchObject({
      flag: 'CERT_REVOKED',
      error: 'connection closed: peer certificate revoked by CRL',
    })
    const line = await w.b.line(/connection complete.*revoked by CRL/)
    expect(fieldsOf(line)).toMatchObject({ 'src.identity': 'spiffe://cluster.local/ns/default/sa/client' })
    const again = await w.mesh.connect(w.client, 'web', 80)
    again.socket.destroy()
    expect(await w.b.line(/identity verification error.*was revoked by its issuer/)).toMatch(
      /direction="inbound"/,
    )
    other.socket.end('still')
    expect(await readAll(other.socket)).toEqual({ text: 'still', end: 'fin' })
    expect(await metricsOf(w.b)).toEqual([
      expect.stringMatching(/^istio_crl_policy_rejections_total\{reporter="destination"\} 1$/),
      'istio_crl_policy_rejections_total{reporter="source"} 0',
      'istio_crl_untracked_connections_total{reporter="destination"} 0',
      'istio_crl_untracked_connections_total{reporter="source"} 0',
      'ambient_crl_read_failures_total 1',
    ])
  })

  it('cuts what callers have with a server that is revoked', async () => {
    const w = await revocationWorld()
    const { socket } = await w.mesh.connect(w.client, 'web', 80)
    socket.write('here')
    expect(String(await readBytes(socket, 4))).toBe('here')
    await w.revoke([w.b, 'server'])
    await w.a.line(inForce)
    expect(await readAll(socket)).toEqual({ text: '', end: 'reset' })
    expect(await w.mesh.record(outbound)).toMatchObject({
      flag: 'CERT_REVOKED',
      error: 'connection closed: peer certificate revoked by CRL',
    })
    const { reply } = await w.mesh.connect(w.client, 'web', 80)
    expect(reply).not.toBe(0)
    expect(await w.mesh.record(outbound, 2)).toMatchObject({
      flag: 'TLS_FAILURE',
      error: expect.stringMatching(/was revoked by its issuer/),
    })
    expect(await metricsOf(w.a)).toContain('istio_crl_policy_rejections_total{reporter="source"} 1')
  })

  it('refuses everybody with CRL_MODE=require, until there is a list', async () => {
    const w = await revocationWorld({ CRL_MODE: 'require' })
    expect((await w.mesh.connect(w.client, 'web', 80)).reply).not.toBe(0)
    expect(await w.mesh.record(outbound)).toMatchObject({
      flag: 'TLS_FAILURE',
      error: expect.stringMatching(/revocation status is unknown.*no such file/),
    })
    await w.revoke()
    await Promise.all([w.a, w.b].map(node => node.line(inForce)))
    const { socket } = await w.mesh.connect(w.client, 'web', 80)
    socket.end('here')
    expect(await readAll(socket)).toEqual({ text: 'here', end: 'fin' })
  })
})
