/** Where a Workload API is: `unix:///ABSOLUTE/PATH` or `tcp://IP:PORT`, and nothing else in it. SPIFFE Workload Endpoint §4. */
import { isIP } from 'node:net'
import { formatHostPort } from '@ambient/core'
import { IdentityError } from '../errors.ts'

export type WorkloadApiAddress =
  | { readonly kind: 'unix'; readonly text: string; readonly path: string }
  | { readonly kind: 'tcp'; readonly text: string; readonly host: string; readonly port: number }

/** `sun_path` of Linux has 108 bytes, the last one is zero. */
const MAX_PATH_BYTES = 107
const TCP = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([1-9][0-9]{0,4})$/

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` with the broken rule. */
export function readWorkloadApiAddress(text: string): WorkloadApiAddress {
  if (text.startsWith('unix:')) return readUnix(text)
  if (!text.startsWith('tcp:')) throw refuse(text, 'the scheme is neither unix nor tcp')
  const [, six, four, digits] = TCP.exec(text) ?? []
  const host = six ?? four ?? ''
  const port = Number(digits)
  if (isIP(host) !== (six === undefined ? 4 : 6) || port > 65_535)
    throw refuse(text, 'expected tcp://IP:PORT, without user, path, query or fragment')
  return { kind: 'tcp', text, host, port }
}

/** What grpc-js dials. */
export function grpcTarget(address: WorkloadApiAddress): string {
  return address.kind === 'unix'
    ? `unix://${address.path}`
    : `ipv${isIP(address.host)}:${formatHostPort(address.host, address.port)}`
}

function readUnix(text: string): WorkloadApiAddress {
  const path = text.slice('unix://'.length)
  if (!text.startsWith('unix:///') || path === '/')
    throw refuse(text, 'expected unix:///ABSOLUTE/PATH, without user or host')
  const [foreign] = /[?#%\0-\x1f]/.exec(path) ?? []
  if (foreign !== undefined)
    throw refuse(text, `${JSON.stringify(foreign)} in the path: no query, fragment or encoding is read`)
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw refuse(text, `the path is longer than ${MAX_PATH_BYTES} bytes, which no socket's name may be`)
  return { kind: 'unix', text, path }
}

function refuse(text: string, rule: string): IdentityError {
  return new IdentityError(
    'AMBIENT_E_IDENTITY_OPTION',
    `address: ${JSON.stringify(text.slice(0, 256))}: ${rule}`,
    { layer: 'config' },
  )
}
