/** Finds a block whose control plane port can be bound, and says what to do where there is none. */
import { listen } from '@ambient/core/node'
import { CONTROL_PLANE_PORT, meshDefaults, proxyPorts } from '../defaults.ts'
import { MeshError } from '../errors.ts'
import { type AddressBlock, blockCandidates, createAddressBlock } from './block.ts'
import { describeHolder } from './port-holder.ts'

/** Tried last: the one to add addresses for where only some exist. */
const FIXED_BLOCK = 88
/** Pods per node that the advice covers. */
const ADVISED_PODS = 12

export interface ClaimOptions {
  /** This block and no other. */
  readonly block?: number
  readonly nodes: number
  readonly random: () => number
}

/**
 * @throws MeshError `AMBIENT_E_MESH_LOOPBACK` where addresses are missing, `AMBIENT_E_MESH_PORT_IN_USE` where a port of
 * the proxies is held on every address.
 */
export async function claimBlock(options: ClaimOptions): Promise<AddressBlock> {
  const candidates =
    options.block === undefined
      ? [...blockCandidates(options.random).slice(0, meshDefaults.blockAttempts), FIXED_BLOCK]
      : [options.block]
  let missing = false
  let lastFailure: MeshError | undefined
  for (const candidate of candidates) {
    const block = createAddressBlock(candidate)
    const failure = await probe(block, options.nodes)
    if (failure === undefined) return block
    missing ||= failure.code === 'AMBIENT_E_MESH_LOOPBACK'
    lastFailure = failure
  }
  if (missing) throw loopbackMissing(options.block ?? FIXED_BLOCK, options.nodes, lastFailure)
  throw lastFailure ?? new MeshError('AMBIENT_E_MESH_ADDRESSES', 'no block of loopback addresses is free')
}

/** Throws when somebody listens on the port, with the holder's name. */
export async function assertPortFree(address: string, port: number, what: string): Promise<void> {
  const failure = await tryPort(address, port, what)
  if (failure !== undefined) throw failure
}

async function probe(block: AddressBlock, nodes: number): Promise<MeshError | undefined> {
  const control = await tryPort(block.controlPlane, CONTROL_PLANE_PORT, 'the control plane')
  if (control !== undefined) return control
  for (let index = 0; index < nodes; index++)
    for (const [name, port] of Object.entries(proxyPorts)) {
      const failure = await tryPort(block.node(index), port, `the ${name} port of a ztunnel`)
      if (failure !== undefined) return failure
    }
  return undefined
}

async function tryPort(address: string, port: number, what: string): Promise<MeshError | undefined> {
  try {
    const listener = await listen({ host: address, port, onConnection: socket => socket.destroy() })
    await listener.close()
    return undefined
  } catch (cause) {
    const reason = cause instanceof Error ? causeCode(cause) : undefined
    if (reason === 'EADDRNOTAVAIL')
      return new MeshError('AMBIENT_E_MESH_LOOPBACK', `this machine has no address ${address}`, { cause })
    if (reason !== 'EADDRINUSE')
      return new MeshError('AMBIENT_E_MESH_PORT_IN_USE', `cannot listen on ${address}:${port} for ${what}`, {
        cause,
      })
    const holder = await describeHolder(address, port)
    const by = holder === undefined ? '' : ` by ${holder}`
    return new MeshError(
      'AMBIENT_E_MESH_PORT_IN_USE',
      `port ${port} on ${address}, needed for ${what}, is in use${by}`,
      { cause },
    )
  }
}

function causeCode(error: Error): unknown {
  return error.cause instanceof Error && 'code' in error.cause ? error.cause.code : undefined
}

function loopbackMissing(block: number, nodes: number, cause: unknown): MeshError {
  const message = `this machine has only some addresses of 127.0.0.0/8; add those of the mesh with: ${loopbackAdvice(block, nodes)}`
  return new MeshError('AMBIENT_E_MESH_LOOPBACK', message, { cause })
}

/** The command that adds a block's addresses on macOS and the BSDs, enough for a few pods per node. */
export function loopbackAdvice(block: number, nodes: number): string {
  const indexes = Array.from({ length: nodes }, (_, index) => index)
  const hosts = [
    ...indexes.map(index => `0.${index + 1}`),
    '0.253 0.254',
    ...indexes.map(index => `${10 + index}.{1..${ADVISED_PODS}}`),
  ].join(' ')
  return `for a in ${hosts}; do sudo ifconfig lo0 alias 127.${block}.$a up; done`
}
