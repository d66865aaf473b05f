/** The mesh's own folder of secrets: 0700, files 0600, gone with the mesh. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface SecretFiles {
  readonly folder: string
  /** What a node's proxy is given: its token, the root of trust, and the folder with its pods' secrets. */
  writeNode(node: string, files: { token: string; rootPem: string }): Promise<NodeFiles>
  /** What any other proxy is given: its token and the root of trust. */
  writeProxy(name: string, files: { token: string; rootPem: string }): Promise<ProxyFiles>
  removeProxy(name: string): Promise<void>
  /** A new secret for a pod, where its node's proxy reads it. */
  grant(pod: { namespace: string; name: string; node: string }): Promise<string>
  revoke(pod: { namespace: string; name: string; node: string }): Promise<void>
  remove(): Promise<void>
}

export interface ProxyFiles {
  readonly folder: string
  readonly tokenFile: string
  readonly rootFile: string
}

export interface NodeFiles extends ProxyFiles {
  readonly secretsDir: string
}

export async function createSecretFiles(): Promise<SecretFiles> {
  // mkdtemp makes it 0700.
  const folder = await mkdtemp(join(tmpdir(), 'ambient-mesh-'))
  const nodeFolder = (node: string): string => join(folder, node)
  const secretsDir = (node: string): string => join(nodeFolder(node), 'socks5')
  const secretFile = (pod: { namespace: string; name: string; node: string }): string =>
    join(secretsDir(pod.node), `${pod.namespace}.${pod.name}`)
  return {
    folder,
    async writeNode(node, content) {
      const files = await writeFiles(nodeFolder(node), content)
      await mkdir(secretsDir(node), { mode: 0o700 })
      return { ...files, secretsDir: secretsDir(node) }
    },
    // With a dot in it the name is never a node's.
    writeProxy: (name, content) => writeFiles(join(folder, `proxy.${name}`), content),
    removeProxy: name => rm(join(folder, `proxy.${name}`), { recursive: true, force: true }),
    async grant(pod) {
      const secret = randomBytes(24).toString('base64url')
      await writeFile(secretFile(pod), secret, { mode: 0o600 })
      return secret
    },
    revoke: pod => rm(secretFile(pod), { force: true }),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

async function writeFiles(
  folder: string,
  { token, rootPem }: { token: string; rootPem: string },
): Promise<ProxyFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const tokenFile = join(folder, 'token')
  const rootFile = join(folder, 'root-cert.pem')
  await writeFile(tokenFile, token, { mode: 0o600 })
  await writeFile(rootFile, rootPem, { mode: 0o600 })
  return { folder, tokenFile, rootFile }
}
