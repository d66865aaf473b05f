/** Where a proxy's control plane is and what it shows and trusts there: read from the environment, read from files. */
import { readFile } from 'node:fs/promises'
import { rootCertificates } from 'node:tls'
import { type Environment, invalid, prefixed, text } from './environment.ts'

/** The little that a configuration asks of the file system. */
export interface ConfigFiles {
  /** The text of a file, `undefined` when there is none. */
  read(path: string): string | undefined
}

/** Where a root certificate comes from; files are read at each connection, so that a rotated root is picked up. */
export type RootCa =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'inline'; readonly pem: string }
  | { readonly kind: 'system' }

/** Never part of a dump. */
export type AuthToken =
  | { readonly kind: 'none' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'literal'; readonly token: string }

export interface ControlPlaneAddress {
  /** `https://host:port`; `undefined` for none. */
  readonly address: string | undefined
  readonly rootCa: RootCa
  readonly alternativeHostname: string | undefined
  readonly headers: Readonly<Record<string, string>>
}

/**
 * `PREFIX_ROOT_CA`, `ALT_PREFIX_HOSTNAME` and `PREFIX_HEADER_…` of the control plane at `address`.
 * @throws CoreError `AMBIENT_E_CONFIG`
 */
export function readControlPlane(
  env: Environment,
  from: {
    readonly prefix: 'XDS' | 'CA'
    readonly address: string | undefined
    readonly files: ConfigFiles
    /** Where the root certificate is when the environment does not say. */
    readonly rootCertPath: string
  },
): ControlPlaneAddress {
  const { prefix, address, files } = from
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(prefixed(env, `${prefix}_HEADER_`)))
    headers[name.toLowerCase()] = value
  return Object.freeze({
    address,
    rootCa: readRootCa(env, `${prefix}_ROOT_CA`, address !== undefined, files, from.rootCertPath),
    alternativeHostname: text(env, `ALT_${prefix}_HOSTNAME`),
    headers: Object.freeze(headers),
  })
}

/** ztunnel takes a path that does not exist for an inline (empty) bundle; we say that the file is missing. */
function readRootCa(
  env: Environment,
  name: string,
  needed: boolean,
  files: ConfigFiles,
  fallback: string,
): RootCa {
  const value = text(env, name) ?? fallback
  if (value === 'SYSTEM') return { kind: 'system' }
  if (value.includes('-----BEGIN ')) return { kind: 'inline', pem: value }
  if (needed && files.read(value) === undefined) invalid(name, value, 'no such file')
  return { kind: 'file', path: value }
}

/** `AUTH_TOKEN`: a path or the token itself; without it, the file at `tokenPath` where there is one. */
export function readAuthToken(env: Environment, files: ConfigFiles, tokenPath: string): AuthToken {
  const value = text(env, 'AUTH_TOKEN')
  if (value === undefined)
    return files.read(tokenPath) === undefined ? { kind: 'none' } : { kind: 'file', path: tokenPath }
  return files.read(value) === undefined ? { kind: 'literal', token: value } : { kind: 'file', path: value }
}

/** The address with `https://` before it where no scheme is. */
export function withScheme(name: string, value: string): string {
  const url = value.includes('://') ? value : `https://${value}`
  if (!URL.canParse(url) || new URL(url).host === '')
    return invalid(name, value, 'expected https://host:port')
  return url
}

async function loadRoot(root: RootCa): Promise<string> {
  if (root.kind === 'inline') return root.pem
  return root.kind === 'system' ? rootCertificates.join('\n') : readFile(root.path, 'utf8')
}

async function loadToken(token: AuthToken): Promise<string | undefined> {
  if (token.kind === 'none') return undefined
  return token.kind === 'literal' ? token.token : (await readFile(token.path, 'utf8')).trim()
}

/** What every client of the control plane at `address` is made with, whatever it asks for there. */
export interface ControlPlaneClientOptions {
  readonly address: string
  readonly rootPem: () => Promise<string>
  readonly token: () => Promise<string | undefined>
  readonly clusterId: string
  readonly headers: Readonly<Record<string, string>>
  readonly alternativeHostname?: string
}

/** `undefined` when the configuration names no control plane. */
export function controlPlaneClient(
  { address, alternativeHostname, headers, rootCa }: ControlPlaneAddress,
  own: { readonly authToken: AuthToken; readonly clusterId: string },
): ControlPlaneClientOptions | undefined {
  if (address === undefined) return undefined
  return {
    address,
    rootPem: () => loadRoot(rootCa),
    token: () => loadToken(own.authToken),
    clusterId: own.clusterId,
    headers,
    ...(alternativeHostname === undefined ? {} : { alternativeHostname }),
  }
}
