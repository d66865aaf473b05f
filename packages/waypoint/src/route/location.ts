/** `Location` of a redirect: always absolute. */
import type { RequestHead } from '../http/message.ts'
import type { Redirect } from './ir.ts'
import { pathOf, queryOf } from './path.ts'

const DEFAULT_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 }

/** `port` is that of the service. A port that the scheme says already is left out. */
export function locationOf(redirect: Redirect, request: RequestHead, port: number): string {
  const scheme = redirect.scheme ?? request.scheme
  const { host, port: written } = splitAuthority(redirect.authority ?? request.authority)
  const wanted = portOf(redirect, written, port, request, scheme)
  const suffix = wanted === undefined || wanted === DEFAULT_PORTS[scheme] ? '' : `:${wanted}`
  return `${scheme}://${host}${suffix}${targetOf(redirect, request.path)}`
}

function portOf(
  redirect: Redirect,
  written: number | undefined,
  port: number,
  request: RequestHead,
  scheme: string,
): number | undefined {
  if (typeof redirect.port === 'number') return redirect.port
  if (redirect.port === 'request') return port
  if (redirect.port === 'protocol') return undefined
  // The old scheme's own port means nothing under the new scheme.
  const isOld = redirect.authority === undefined && written === DEFAULT_PORTS[request.scheme]
  return isOld && scheme !== request.scheme ? undefined : written
}

/** The query stays, unless the new path has one. */
function targetOf({ path: change }: Redirect, target: string): string {
  if (change === undefined) return target
  const path = change(pathOf(target))
  return path.includes('?') ? path : path + queryOf(target)
}

function splitAuthority(authority: string): { readonly host: string; readonly port: number | undefined } {
  const found = /^(.*):(\d{1,5})$/.exec(authority)
  const [, host, port] = found ?? []
  return host === undefined ? { host: authority, port: undefined } : { host, port: Number(port) }
}
