/** The switchboard: what is to be done with one request or connection. Pure; somebody else does it. */
import type { RequestHead } from '../http/message.ts'
import { applyHeaderEdits, authorityFrom, hasEdits } from './header-edits.ts'
import type {
  Backend,
  ClusterRef,
  Destination,
  FaultPolicy,
  HeaderEdits,
  HttpRoute,
  Rewrite,
  RouteTable,
} from './ir.ts'
import { locationOf } from './location.ts'
import { pathOf, queryOf } from './path.ts'

/** 0 ≤ value < 1. */
export type Random = () => number

/** Percentages are drawn in millionths, as Envoy draws those of Istio. */
const MILLION = 1_000_000
const MILLIONTHS_PER_PERCENT = 10_000
/** 0.29 % is 2900 millionths, not the 2899.9999999999995 of floating point. */
const ROUNDING = 1e-6
const ORIGINAL_PATH = 'x-envoy-original-path'

/** What a fault policy came to for one request; the delay comes first. */
export interface SampledFault {
  readonly delayMs: number | undefined
  readonly abort: { readonly status: number; readonly grpcStatus: number | undefined } | undefined
}

/** What every decision for a route has. The fault is to be carried out before the decision. */
export interface Routed {
  readonly route: HttpRoute
  readonly fault: SampledFault | undefined
  /** For whatever is answered, local replies of the route included; one after the other. */
  readonly responseHeaders: readonly HeaderEdits[]
}

export type RouteDecision =
  /** 404 `NR`, `route_not_found`. */
  | { readonly kind: 'not-found' }
  | (Routed & { readonly kind: 'redirect'; readonly status: number; readonly location: string })
  | (Routed & { readonly kind: 'respond'; readonly status: number; readonly body: string })
  /** What the route names is not there. */
  | (Routed & {
      readonly kind: 'missing'
      readonly status: 500 | 503
      readonly flag: 'NC' | '-'
      readonly reason: string
    })
  | (Routed & {
      readonly kind: 'forward'
      readonly cluster: ClusterRef
      /** A copy: edited, rewritten, with `x-envoy-original-path` where the path was. */
      readonly request: RequestHead
      /** Those that get a copy of this request. */
      readonly mirrors: readonly { readonly cluster: ClusterRef }[]
    })

export interface DecideOptions {
  readonly random: Random
  /** Service port. */
  readonly port: number
  /** What routes are matched with, where that is not the request itself. */
  readonly matched?: RequestHead | undefined
}

/** The first route that matches decides. Never throws. */
export function decideRoute(
  table: RouteTable,
  request: RequestHead,
  { random, port, matched = request }: DecideOptions,
): RouteDecision {
  const route = table.http.find(candidate => candidate.matches(matched))
  if (route === undefined) return { kind: 'not-found' }
  const fault = sampleFault(route.fault, random)
  const { action } = route
  if (action.kind === 'forward')
    return forward(route, action.destinations, action.rewrite, request, fault, random)
  const routed = { route, fault, responseHeaders: present([route.responseHeaders]) }
  return action.kind === 'respond'
    ? { ...routed, kind: 'respond', status: action.status, body: action.body }
    : {
        ...routed,
        kind: 'redirect',
        status: action.redirect.status,
        location: locationOf(action.redirect, request, port),
      }
}

/** Where one connection goes. */
export function decideTcpRoute(table: RouteTable, random: Random): Backend {
  const [route] = table.tcp
  const chosen = chooseDestination(route?.destinations ?? [], random)
  return chosen?.backend ?? nothingToChoose(route?.origin.resource ?? '')
}

/** True in `percent` of a hundred draws, in steps of 0.0001. */
export function sample(percent: number, random: Random): boolean {
  const millionths = Math.floor(percent * MILLIONTHS_PER_PERCENT + ROUNDING)
  if (millionths <= 0) return false
  return millionths >= MILLION || Math.floor(random() * MILLION) < millionths
}

function forward(
  route: HttpRoute,
  destinations: readonly Destination[],
  rewrite: Rewrite | undefined,
  request: RequestHead,
  fault: SampledFault | undefined,
  random: Random,
): RouteDecision {
  const destination = chooseDestination(destinations, random)
  const isAlone = destinations.filter(({ weight }) => weight > 0).length === 1
  const responseHeaders = inOrderOf(isAlone, route.responseHeaders, destination?.responseHeaders)
  const routed = { route, fault, responseHeaders }
  const backend = destination?.backend ?? nothingToChoose(route.origin.resource)
  if (backend.kind === 'missing') return { ...routed, ...backend }
  return {
    ...routed,
    kind: 'forward',
    cluster: backend.cluster,
    request: editRequest(request, route, destination, rewrite, isAlone),
    mirrors: route.mirrors.flatMap(({ backend: copy, percent }) =>
      copy.kind === 'cluster' && sample(percent, random) ? [{ cluster: copy.cluster }] : [],
    ),
  }
}

function editRequest(
  request: RequestHead,
  route: HttpRoute,
  destination: Destination | undefined,
  rewrite: Rewrite | undefined,
  isAlone: boolean,
): RequestHead {
  const headers = request.headers.copy()
  for (const edits of inOrderOf(isAlone, route.requestHeaders, destination?.requestHeaders))
    applyHeaderEdits(headers, edits)
  const change = rewrite?.path
  if (change !== undefined) headers.set(ORIGINAL_PATH, request.path)
  // The route's word counts more than its destination's.
  const authority =
    rewrite?.authority ??
    authorityFrom(route.requestHeaders) ??
    (destination && authorityFrom(destination.requestHeaders))
  return {
    method: request.method,
    scheme: request.scheme,
    authority: authority ?? request.authority,
    path: change === undefined ? request.path : change(pathOf(request.path)) + queryOf(request.path),
    headers,
  }
}

/**
 * Istio writes the edits of a destination that is alone behind those of its route, removals first; among several
 * destinations Envoy carries out the destination's first and lets the route have the last word.
 */
function inOrderOf(
  isAlone: boolean,
  route: HeaderEdits,
  destination: HeaderEdits | undefined,
): readonly HeaderEdits[] {
  if (destination === undefined || !hasEdits(destination)) return present([route])
  if (!isAlone) return present([destination, route])
  return present([
    { ...route, remove: [...route.remove, ...destination.remove] },
    { ...destination, remove: [] },
  ])
}

function present(edits: readonly HeaderEdits[]): readonly HeaderEdits[] {
  return edits.filter(hasEdits)
}

function chooseDestination(destinations: readonly Destination[], random: Random): Destination | undefined {
  const total = destinations.reduce((sum, { weight }) => sum + weight, 0)
  if (total <= 0) return undefined
  const [first] = destinations
  if (destinations.length === 1) return first
  let left = random() * total
  for (const destination of destinations) {
    left -= destination.weight
    if (left < 0) return destination
  }
  return destinations.filter(({ weight }) => weight > 0).at(-1)
}

/** Only weights of 0 in a VirtualService: Istio refuses it, and a cluster that has nothing is not there. */
function nothingToChoose(resource: string): Extract<Backend, { kind: 'missing' }> {
  return {
    kind: 'missing',
    status: 503,
    flag: 'NC',
    reason: `no destination of ${resource || 'the route'} has a weight`,
  }
}

function sampleFault(policy: FaultPolicy | undefined, random: Random): SampledFault | undefined {
  if (policy === undefined) return undefined
  const { delay, abort } = policy
  const delayMs = delay !== undefined && sample(delay.percent, random) ? delay.ms : undefined
  const isAborted = abort !== undefined && sample(abort.percent, random)
  if (delayMs === undefined && !isAborted) return undefined
  return {
    delayMs,
    abort: isAborted ? { status: abort.status, grpcStatus: abort.grpcStatus } : undefined,
  }
}
