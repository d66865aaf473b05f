/** Asks a ztunnel over its admin port, as istioctl does: is it ready, and which workloads does it listen for? */
import { get } from 'node:http'
import type { ProxyCertificate } from '../control/types.ts'

export interface ProxyAnswer {
  /** 0 when there was no answer. */
  readonly status: number
  readonly text: string
}

const TIMEOUT_MS = 2_000

/** Never rejects. */
export function askProxy(url: string): Promise<ProxyAnswer> {
  return new Promise(resolve => {
    const request = get(url, { agent: false, timeout: TIMEOUT_MS }, response => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8').trim() }),
      )
      response.on('error', error => resolve({ status: 0, text: error.message }))
    })
    request.on('timeout', () => request.destroy(new Error('no answer in time')))
    request.on('error', error => resolve({ status: 0, text: error.message }))
  })
}

/** `namespace/name` of the pods whose listeners are up, from a config dump. */
export function podsServed(dump: string): ReadonlySet<string> {
  const served = new Set<string>()
  for (const entry of Object.values(objectAt(parse(dump), 'workloadState'))) {
    const info = objectAt(entry, 'info')
    if (isObject(entry) && entry['state'] === 'Up') served.add(`${info['namespace']}/${info['name']}`)
  }
  return served
}

/** From a config dump: of each identity the leaf, or why there is none. */
export function certificatesOf(dump: string): readonly ProxyCertificate[] {
  const dumped = parse(dump)
  const list = isObject(dumped) ? dumped['certificates'] : undefined
  return (Array.isArray(list) ? list : []).filter(isObject).map(entry => {
    const chain: unknown = entry['certChain']
    const leaf: unknown = Array.isArray(chain) ? chain[0] : undefined
    const common = { identity: String(entry['identity']), state: String(entry['state']) }
    if (!isObject(leaf)) return common
    return {
      ...common,
      serial: String(leaf['serialNumber']),
      notBefore: Date.parse(String(leaf['validFrom'])),
      notAfter: Date.parse(String(leaf['expirationTime'])),
    }
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function objectAt(value: unknown, key: string): Record<string, unknown> {
  const inner = isObject(value) ? value[key] : undefined
  return isObject(inner) ? inner : {}
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
