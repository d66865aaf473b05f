/** Which targets `ambient hbone serve` may dial: `HOST:PORT`, `CIDR:PORT`, or everything. */
import { type Cidr, cidrContains, ipToBytes, parseCidr, readHostPort } from '@ambient/core'
import { InvalidArgumentError } from 'commander'
import type { Place } from './common-options.ts'

export type AllowTarget = (target: Place) => boolean

/** For `--allow-target`, which may be repeated. */
export function collectTarget(
  value: string,
  previous: readonly AllowTarget[] | undefined,
): readonly AllowTarget[] {
  return [...(previous ?? []), readTarget(value)]
}

function readTarget(text: string): AllowTarget {
  if (text === '*') return () => true
  if (text.includes('/')) return readBlock(text)
  const read = readHostPort(text)
  if (!read.ok) throw new InvalidArgumentError(`expected HOST:PORT, CIDR:PORT or '*': ${read.reason}.`)
  const { host, port } = read.value
  return target => target.host === host && target.port === port
}

/** `10.0.0.0/8:5432`, `[fd00::/8]:5432`. */
function readBlock(text: string): AllowTarget {
  const colon = text.lastIndexOf(':')
  const port = Number(/^[1-9][0-9]{0,4}$/.exec(text.slice(colon + 1))?.[0] ?? 0)
  if (colon < 0 || port < 1 || port > 65_535)
    throw new InvalidArgumentError('expected CIDR:PORT with a port from 1 to 65535.')
  const block = readCidr(text.slice(0, colon).replace(/^\[(.*)\]$/, '$1'))
  return target => {
    // A name is no address: who wants it allowed names it.
    const address = ipToBytes(target.host)
    return target.port === port && address !== undefined && cidrContains(block, address)
  }
}

function readCidr(text: string): Cidr {
  try {
    return parseCidr(text)
  } catch {
    throw new InvalidArgumentError(`${text} is no block of addresses such as 10.0.0.0/8.`)
  }
}
