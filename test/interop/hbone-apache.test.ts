/**
 * Apache as an independent server: application ⇄ our proxy ⇄ tunnel ⇄ Apache ⇄ application. Our end first, 1 MiB each way; its
 * death while it sends. Apache ends a tunnel only after we have ended ours, and shows its target a reset of ours as an end,
 * so those rows are not here.
 *
 * Needs Apache 2.4 with mod_http2 and mod_proxy_connect; APACHE=path chooses one.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pump, type PumpResult } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { describe, expect, it } from 'vitest'
import { db, harness, later } from './hbone-ends.ts'
import { App, MUCH, socketPair, until } from '../contracts/tcp-app.ts'

const APACHE = process.env['APACHE'] ?? ['/usr/sbin/apache2', '/usr/sbin/httpd'].find(existsSync) ?? 'apache2'
const MODULES = ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/usr/lib/httpd/modules']
const modules = MODULES.find(folder => existsSync(join(folder, 'mod_http2.so'))) ?? ''
const MIB = 1 << 20

function missing(): string | undefined {
  try {
    execFileSync(APACHE, ['-v'], { stdio: 'ignore' })
  } catch {
    return 'there is no Apache'
  }
  return modules === '' ? 'this Apache has no mod_http2' : undefined
}

/** One process, so that a kill ends all of it. */
async function startApache(): Promise<{ child: ChildProcess; port: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'hbone-apache-'))
  later(async () => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  writeFileSync(join(folder, 'cert.pem'), db.certificateChain)
  writeFileSync(join(folder, 'key.pem'), db.privateKey())
  writeFileSync(join(folder, 'ca.pem'), db.trustBundle)
  writeFileSync(join(folder, 'httpd.conf'), configuration(folder, port))
  // Its worker is another user.
  chmodSync(folder, 0o755)
  const child = spawn(APACHE, ['-X', '-f', join(folder, 'httpd.conf')], { stdio: 'ignore' })
  later(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  for (;;) {
    if (child.exitCode !== null) throw new Error(`Apache ended with ${child.exitCode}`)
    const socket = connect({ host: '127.0.0.1', port })
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) return { child, port }
  }
}

function configuration(folder: string, port: number): string {
  const optional = ['mpm_event', 'unixd'].filter(name => existsSync(join(modules, `mod_${name}.so`)))
  const names = [...optional, 'authz_core', 'authz_host', 'ssl', 'http2', 'proxy', 'proxy_connect']
  return `
ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
DefaultRuntimeDir ${folder}
ErrorLog ${folder}/error.log
Mutex file:${folder} default
${names.map(name => `LoadModule ${name}_module ${modules}/mod_${name}.so`).join('\n')}
${process.getuid?.() === 0 ? 'User nobody' : ''}
Protocols h2
Listen 127.0.0.1:${port}
SSLEngine on
SSLCertificateFile ${folder}/cert.pem
SSLCertificateKeyFile ${folder}/key.pem
SSLCACertificateFile ${folder}/ca.pem
SSLVerifyClient require
ProxyRequests On
H2ProxyRequests On
AllowCONNECT 1024-65535
<Proxy "*">
  Require local
</Proxy>
`
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

interface Through {
  readonly client: App
  readonly target: App
  readonly apache: ChildProcess
  readonly counts: { aToB: number; bToA: number }
  readonly done: Promise<PumpResult>
}

async function through(): Promise<Through> {
  const { child, port } = await startApache()
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => void server.close())
  const accepted = once(server, 'connection').then(([socket]) => socket as Socket)
  const { pool, request } = await harness({ onTunnel: () => {} })
  const authority = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const tunnel = await pool.connect(request({ to: { address: '127.0.0.1', port }, authority }))
  const [ours, theirs] = await socketPair()
  const [client, target] = [new App(theirs, false), new App(await accepted, false)]
  later(async () => {
    for (const { socket } of [client, target]) socket.destroy()
  })
  const counts = { aToB: 0, bToA: 0 }
  return {
    client,
    target,
    apache: child,
    counts,
    done: pump(tunnel.channel, socketChannel(ours), { counts }),
  }
}

const why = missing()

describe.skipIf(why !== undefined)(`Apache${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('carries 1 MiB each way, our end first', async () => {
    const { client, target, done } = await through()
    client.send(MIB)
    client.end()
    await target.events.seen('end')
    expect([target.events.received, target.hasTrueBytes]).toEqual([MIB, true])
    target.send(MIB)
    target.end()
    await client.events.seen('end')
    expect([client.events.received, client.hasTrueBytes]).toEqual([MIB, true])
    expect((await done).ending).toEqual({ kind: 'ended' })
  })

  it('is killed while it sends: what came, then a reset', async () => {
    const { client, target, apache, counts } = await through()
    target.send(MUCH)
    await until(() => counts.aToB > 0)
    apache.kill('SIGKILL')
    await client.events.seen('reset')
    expect([client.ending, client.hasTrueBytes]).toEqual(['reset', true])
  })
})
