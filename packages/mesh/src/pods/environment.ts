/** The environment of a pod's programs: what the manifest says, and how to reach the node's proxy. */
import { dirname } from 'node:path'
import { proxyPorts } from '../defaults.ts'

/** What a container image usually brings. */
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface PodEnvironmentInput {
  readonly name: string
  readonly namespace: string
  readonly address: string
  /** Proves to the node's proxy which pod calls. */
  readonly secret: string
  /** Of the preload, as a `file:` URL. */
  readonly capture: string
  /** The Node.js that runs us also runs the programs. */
  readonly execPath: string
  /** From whoever made the mesh: PATH, LANG and the like. */
  readonly base: Readonly<Record<string, string>>
  /** The manifest's. */
  readonly container: Readonly<Record<string, string>>
}

/** Who a pod is, and the secret that proves it. */
export type PodEntrance = Pick<PodEnvironmentInput, 'name' | 'namespace' | 'address' | 'secret'>

/** What takes a program into the mesh, as far as it reads it: curl and many libraries do, Node through the preload. */
export function entranceEnvironment({
  name,
  namespace,
  address,
  secret,
}: PodEntrance): Record<string, string> {
  const credentials = `${encodeURIComponent(`${namespace}/${name}`)}:${encodeURIComponent(secret)}`
  const proxy = `${credentials}@${address}:${proxyPorts.socks}`
  const direct = `localhost,127.0.0.1,::1,${address}`
  return {
    POD_IP: address,
    ALL_PROXY: `socks5h://${proxy}`,
    all_proxy: `socks5h://${proxy}`,
    NO_PROXY: direct,
    no_proxy: direct,
    AMBIENT_CAPTURE_PROXY: `socks5://${proxy}`,
    AMBIENT_CAPTURE_ADDRESS: address,
  }
}

/**
 * Node programs join through the preload; others through the variables that curl and many libraries read. The manifest
 * wins over everything but the preload, which is added to its NODE_OPTIONS.
 */
export function podEnvironment(input: PodEnvironmentInput): Record<string, string> {
  const options = [input.base['NODE_OPTIONS'], input.container['NODE_OPTIONS'], `--import ${input.capture}`]
  const { AMBIENT_CAPTURE_PROXY = '', ...entrance } = entranceEnvironment(input)
  return {
    PATH: `${dirname(input.execPath)}:${SYSTEM_PATH}`,
    HOSTNAME: input.name,
    ...entrance,
    ...input.base,
    ...input.container,
    AMBIENT_CAPTURE_PROXY,
    AMBIENT_CAPTURE_ADDRESS: input.address,
    NODE_OPTIONS: options.filter(option => option !== undefined && option !== '').join(' '),
  }
}

/** `node` is the Node.js that we run on: there may be no other on this machine. */
export function programOf(argv: readonly string[], execPath: string): readonly string[] {
  const [program, ...args] = argv
  return program === 'node' ? [execPath, ...args] : argv
}
