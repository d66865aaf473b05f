/** Apache as an HBONE server: a forward proxy for loopback targets, with mTLS and HTTP/2. APACHE=path chooses one. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Credentials } from '@ambient/core'

const APACHE = process.env['APACHE'] ?? ['/usr/sbin/apache2', '/usr/sbin/httpd'].find(existsSync) ?? 'apache2'
const MODULES = ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/usr/lib/httpd/modules']
const modules = MODULES.find(folder => existsSync(join(folder, 'mod_http2.so'))) ?? ''

/** Why there is none, `undefined` when there is. */
export const apacheProblem = problem()

function problem(): string | undefined {
  try {
    execFileSync(APACHE, ['-v'], { stdio: 'ignore' })
  } catch {
    return 'there is no Apache (set APACHE to its program)'
  }
  return modules === '' ? 'this Apache has no mod_http2' : undefined
}

export interface Apache {
  readonly child: ChildProcess
  readonly port: number
  /** Ends it, if nothing else has. */
  close(): Promise<void>
}

/** Listens when it resolves. `isOneProcess`: a kill ends all of it. */
export async function startApache(
  identity: Credentials,
  { isOneProcess = false }: { readonly isOneProcess?: boolean } = {},
): Promise<Apache> {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-apache-'))
  const port = await freePort()
  writeFileSync(join(folder, 'cert.pem'), identity.certificateChain)
  writeFileSync(join(folder, 'key.pem'), identity.privateKey())
  writeFileSync(join(folder, 'ca.pem'), identity.trustBundle)
  writeFileSync(join(folder, 'httpd.conf'), configuration(folder, port))
  // Its workers are another user.
  chmodSync(folder, 0o755)
  const mode = isOneProcess ? ['-X'] : ['-D', 'FOREGROUND']
  const child = spawn(APACHE, ['-f', join(folder, 'httpd.conf'), ...mode], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  const close = async (): Promise<void> => {
    child.kill(isOneProcess ? 'SIGKILL' : 'SIGTERM')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await untilListening(port, child)
  } catch (error) {
    await close()
    throw error
  }
  return { child, port, close }
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
Protocols h2 http/1.1
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

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`Apache ended with ${child.exitCode}`)
    const socket = connect({ host: '127.0.0.1', port })
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) return
  }
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
