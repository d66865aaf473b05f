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
  const port = await freePort()
  const files = {
    'cert.pem': identity.certificateChain,
    'key.pem': identity.privateKey(),
    'ca.pem': identity.trustBundle,
  }
  const modulesOfProxy = ['authz_host', 'proxy', 'proxy_connect']
  return launch({ files, port, isOneProcess, moduleNames: modulesOfProxy, configuration: tunnels(port) })
}

/** One Apache without tunnels, a port for each certificate (PEM). `ports[n]` shows `shown[n]`. */
export async function startApacheShowing(
  shown: readonly { readonly chainPem: string; readonly keyPem: string }[],
): Promise<Apache & { readonly ports: readonly number[] }> {
  const ports = await Promise.all(shown.map(freePort))
  const files = Object.fromEntries(
    shown.flatMap(({ chainPem, keyPem }, index) => [
      [`${index}.pem`, chainPem],
      [`${index}.key`, keyPem],
    ]),
  )
  const configuration = ports.map(certificateAt).join('\n')
  const [port = 0] = ports
  return { ...(await launch({ files, port, isOneProcess: true, moduleNames: [], configuration })), ports }
}

async function launch(options: {
  readonly files: Readonly<Record<string, string>>
  /** Answers when the server is there. */
  readonly port: number
  readonly isOneProcess: boolean
  readonly moduleNames: readonly string[]
  readonly configuration: string
}): Promise<Apache> {
  const { files, port, isOneProcess, moduleNames, configuration } = options
  const folder = mkdtempSync(join(tmpdir(), 'ambient-apache-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  writeFileSync(join(folder, 'httpd.conf'), `${basics(folder, moduleNames)}${configuration}`)
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

function basics(folder: string, more: readonly string[]): string {
  const optional = ['mpm_event', 'unixd'].filter(name => existsSync(join(modules, `mod_${name}.so`)))
  return `
ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
DefaultRuntimeDir ${folder}
ErrorLog ${folder}/error.log
Mutex file:${folder} default
${[...optional, 'authz_core', 'ssl', 'http2', ...more]
  .map(name => `LoadModule ${name}_module ${modules}/mod_${name}.so`)
  .join('\n')}
${process.getuid?.() === 0 ? 'User nobody' : ''}
Protocols h2 http/1.1
`
}

function tunnels(port: number): string {
  return `Listen 127.0.0.1:${port}
SSLEngine on
SSLCertificateFile cert.pem
SSLCertificateKeyFile key.pem
SSLCACertificateFile ca.pem
SSLVerifyClient require
ProxyRequests On
H2ProxyRequests On
AllowCONNECT 1024-65535
<Proxy "*">
  Require local
</Proxy>
`
}

function certificateAt(port: number, index: number): string {
  return `Listen 127.0.0.1:${port}
<VirtualHost 127.0.0.1:${port}>
SSLEngine on
SSLCertificateFile ${index}.pem
SSLCertificateKeyFile ${index}.key
SSLVerifyClient optional_no_ca
</VirtualHost>`
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
