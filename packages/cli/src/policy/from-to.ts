/** A request from options, for hands: `--from TD/ns/N/sa/S --to NS/WORKLOAD:PORT --method GET --path /`. */
import { quoteText } from '@ambient/core'
import type { PolicyRequest, RequestHttp } from '@ambient/policy'
import { CliError } from '../errors.ts'

export interface HandOptions {
  readonly from?: string
  readonly trustDomain: string
  readonly ip?: string
  readonly to?: string
  readonly service?: string
  readonly label?: readonly string[]
  readonly method?: string
  readonly path?: string
  readonly host?: string
  readonly header?: readonly string[]
}

/**
 * Any of `--method`, `--path`, `--host` and `--header` makes it a request over HTTP.
 * @throws CliError `AMBIENT_E_CLI_USAGE`
 */
export function requestOfOptions(options: HandOptions): PolicyRequest {
  const { ip, service, label } = options
  const principal = options.from === undefined ? undefined : principalOf(options.from, options.trustDomain)
  const http = httpOf(options)
  return {
    source: {
      ...(principal === undefined ? {} : { principal }),
      ...(ip === undefined ? {} : { ip }),
    },
    destination: {
      ...destinationOf(options.to ?? ''),
      ...(service === undefined ? {} : { service }),
      ...(label === undefined ? {} : { labels: Object.fromEntries(label.map(labelOf)) }),
    },
    ...(http === undefined ? {} : { http }),
  }
}

/** `NAMESPACE/ACCOUNT` as in files of tests; with `spiffe://` any SPIFFE ID. */
function principalOf(from: string, trustDomain: string): string {
  if (from.startsWith('spiffe://')) return from.slice('spiffe://'.length)
  const [, namespace, account] = /^([^/]+)\/([^/]+)$/.exec(from) ?? []
  if (namespace !== undefined) return `${trustDomain}/ns/${namespace}/sa/${account}`
  if (!from.includes('/'))
    throw usage(
      `--from ${quoteText(from)}: expected TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT or NAMESPACE/ACCOUNT`,
    )
  return from
}

function destinationOf(to: string): PolicyRequest['destination'] {
  const [, namespace = '', workload = '', port = ''] = /^([^/:]+)\/([^/:]+):(\d{1,5})$/.exec(to) ?? []
  if (namespace === '' || Number(port) > 65_535)
    throw usage(`--to ${quoteText(to)}: expected NAMESPACE/WORKLOAD:PORT`)
  return { namespace, workload, port: Number(port) }
}

function httpOf({ method, path, host, header, to }: HandOptions): RequestHttp | undefined {
  if ([method, path, host, header].every(option => option === undefined)) return undefined
  const named = /\/([^/:]+):/.exec(to ?? '')?.[1] ?? ''
  return {
    method: method ?? 'GET',
    authority: host ?? named,
    path: path ?? '/',
    headers: headersOf(header ?? []),
  }
}

/** `name: value`, as curl has it; a name that is repeated is a repeated header. */
function headersOf(lines: readonly string[]): NonNullable<RequestHttp['headers']> {
  const headers = new Map<string, readonly string[]>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon < 1) throw usage(`--header ${quoteText(line)}: expected NAME: VALUE`)
    const name = line.slice(0, colon).trim().toLowerCase()
    headers.set(name, [...(headers.get(name) ?? []), line.slice(colon + 1).trim()])
  }
  return Object.fromEntries(headers)
}

function labelOf(text: string): readonly [string, string] {
  const equals = text.indexOf('=')
  if (equals < 1) throw usage(`--label ${quoteText(text)}: expected KEY=VALUE`)
  return [text.slice(0, equals), text.slice(equals + 1)]
}

function usage(message: string): CliError {
  return new CliError('AMBIENT_E_CLI_USAGE', message)
}
