/**
 * A provider that speaks plain HTTP: it gets the request's method, path and host, and its own answer is the caller's.
 *
 * Source: Envoy's HTTP service of ext_authz, as istiod configures it.
 */
import type { Clock, Directory } from '@ambient/core'
import { headerMatcher, type HttpAuthorizationProvider } from '@ambient/policy'
import { HeaderFields } from '../http/header-fields.ts'
import type { Dispatcher } from '../upstream/dispatch.ts'
import { callProvider, type ProviderAnswer } from './call.ts'
import type { Check, CheckAnswer, CheckedRequest, HeaderEdit } from './check.ts'
import { headerEdit, isEditable } from './edits.ts'

/** What a provider wants removed from the request that goes on, as a list. */
const HEADERS_TO_REMOVE = 'x-envoy-auth-headers-to-remove'
/** With a list of headers for the caller, these are always in it: without them a challenge or a redirect says nothing. */
const alwaysForTheCaller = ['www-authenticate', 'location']

/** @throws whatever makes the answer an error */
export async function checkOverHttp(
  desk: Pick<Dispatcher, 'dispatch'>,
  clock: Clock,
  options: {
    readonly check: Check
    readonly provider: HttpAuthorizationProvider
    readonly request: CheckedRequest
    readonly directory: Pick<Directory, 'service'>
    readonly signal: AbortSignal
  },
): Promise<CheckAnswer> {
  const { check, provider, request, directory, signal } = options
  const { cluster } = check
  const { head, body } = request
  const service = directory.service(cluster.namespace, cluster.hostname)
  const answer = await callProvider(desk, clock, {
    cluster,
    head: {
      method: head.method,
      scheme: 'http',
      authority: head.authority,
      path: `${provider.pathPrefix}${head.path}`,
      headers: headersFor(provider, request),
    },
    body: body?.bytes,
    protocol: service?.appProtocols?.get(cluster.port) ?? 'HTTP11',
    timeoutMs: provider.timeoutMs,
    caller: check.stream.caller,
    signal,
  })
  return readAnswer(provider, answer)
}

function headersFor(provider: HttpAuthorizationProvider, { head, body }: CheckedRequest): HeaderFields {
  const isIncluded = headerMatcher(provider.includeRequestHeaders)
  const headers = new HeaderFields()
  for (const [name, value] of head.headers)
    if (name === 'authorization' || (isIncluded(name) && isEditable(name))) headers.add(name, value)
  for (const [name, value] of provider.additionalHeaders) if (isEditable(name)) headers.set(name, value)
  headers.set('content-length', String(body?.bytes.length ?? 0))
  return headers
}

function readAnswer(provider: HttpAuthorizationProvider, answer: ProviderAnswer): CheckAnswer {
  const { status, headers, body } = answer
  if (status >= 500) return { kind: 'error', reason: `the provider answered HTTP ${status}` }
  if (status !== 200) {
    const isFor = headerMatcher([...provider.headersToDownstreamOnDeny, ...alwaysForTheCaller])
    const all = provider.headersToDownstreamOnDeny.length === 0
    return { kind: 'denied', status, headers: chosen(headers, name => all || isFor(name), 'set'), body }
  }
  const removed = headers.all(HEADERS_TO_REMOVE).flatMap(list => list.split(',').map(name => name.trim()))
  const edits = {
    headers: chosen(headers, headerMatcher(provider.headersToUpstreamOnAllow), 'set'),
    remove: removed.filter(name => name !== ''),
    querySet: [],
    queryRemove: [],
    response: chosen(headers, headerMatcher(provider.headersToDownstreamOnAllow), 'add'),
  }
  return { kind: 'allowed', edits }
}

function chosen(
  headers: HeaderFields,
  isWanted: (name: string) => boolean,
  how: HeaderEdit['how'],
): readonly HeaderEdit[] {
  return [...headers].flatMap(([name, value]) =>
    isWanted(name) && name !== HEADERS_TO_REMOVE ? (headerEdit(name, value, how) ?? []) : [],
  )
}
