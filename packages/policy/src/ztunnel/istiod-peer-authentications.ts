/**
 * PeerAuthentication as istiod converts it for ztunnel, mistakes included: for whoever wants to know what a mesh of
 * istiod's does. Our own control plane uses `convertPeerAuthentications`.
 *
 * Source: istiod (`pilot/pkg/serviceregistry/ambient/authorization.go`), and its WDS output as observed.
 */
import { type Authorization, authorizationKey, type AuthorizationRule, emptyMatch } from './authorization.ts'
import {
  byAge,
  CONVERTED,
  denial,
  noIdentity,
  type SelectableWorkload,
  strictForAll,
} from './convert-peer-authentications.ts'
import { matchesSelector, selectsAll } from './selector.ts'
import type { MutualTlsMode, PeerAuthentication } from '../documents/peer-authentication.ts'

export interface IstiodPeerPlan {
  /** What is sent to ztunnels. */
  readonly sent: readonly Authorization[]
  /** What a workload lists, sent or not; ztunnel skips the names that it does not know. */
  keysFor(workload: SelectableWorkload): readonly string[]
}

export function istiodPeerAuthentications(
  all: readonly PeerAuthentication[],
  { rootNamespace }: { readonly rootNamespace: string },
): IstiodPeerPlan {
  const sorted = [...all].sort(byAge)
  const everyone = strictForAll(rootNamespace)
  const parentOf = (namespace: string): PeerAuthentication | undefined =>
    sorted.find(({ metadata, spec }) => metadata.namespace === namespace && spec.selector === undefined)
  const converted = sorted.flatMap(
    document =>
      convert(document, {
        root: modeOf(parentOf(rootNamespace)),
        namespace: modeOf(parentOf(document.metadata.namespace)),
        isRoot: document.metadata.namespace === rootNamespace,
      }) ?? [],
  )
  return {
    sent: all.length === 0 ? [] : [everyone, ...converted],
    keysFor: workload => keysFor(sorted, workload, rootNamespace, authorizationKey(everyone)),
  }
}

type Mode = MutualTlsMode | 'absent'

/** A parent that is there without a mode is not a parent that is not there. */
function modeOf(document: PeerAuthentication | undefined): Mode {
  return document === undefined ? 'absent' : (document.spec.mtls?.mode ?? 'UNSET')
}

interface Parents {
  readonly root: Mode
  readonly namespace: Mode
  readonly isRoot: boolean
}

function isOpen(mode: Mode | undefined): boolean {
  return mode === 'PERMISSIVE' || mode === 'DISABLE'
}

function convert(document: PeerAuthentication, parents: Parents): Authorization | undefined {
  const { metadata, spec } = document
  const ports = [...(spec.portLevelMtls ?? [])].sort(([a], [b]) => a - b)
  if (parents.isRoot || spec.selector === undefined || ports.length === 0) return undefined
  const mode = modeOf(document)
  const strictPorts = ports.filter(([, tls]) => tls.mode === 'STRICT' && !isStrictAlready(mode, parents))
  const holes = ports.filter(([, tls]) => isOpen(tls.mode) && needsHole(mode, parents)).map(([port]) => port)
  if (mode === 'STRICT' && holes.length === 0) return undefined
  if (strictPorts.length === 0 && holes.length === 0) return undefined
  const rules: AuthorizationRule[] = strictPorts.map(([port]) => ({
    clauses: [{ matches: [{ ...noIdentity, destinationPorts: [port] }] }],
  }))
  const plaintext = { matches: [noIdentity] }
  const clauses = [
    ...(mode === 'STRICT' ? [plaintext] : []),
    ...holes.map(port => ({ matches: [{ ...emptyMatch, notDestinationPorts: [port] }] })),
    ...(holes.length > 0 && isParentStrict(parents) ? [plaintext] : []),
  ]
  if (clauses.length > 0) rules.push({ clauses })
  return denial(metadata.namespace, `${CONVERTED}${metadata.name}`, rules)
}

/**
 * The last half counts whatever the workload's own mode is: under a strict mesh a STRICT port of a PERMISSIVE workload
 * is believed to be covered, and its policy is not sent.
 */
function isStrictAlready(mode: Mode, { namespace, root }: Parents): boolean {
  if (mode === 'STRICT' || (mode === 'UNSET' && namespace === 'STRICT')) return true
  return (namespace === 'absent' || namespace === 'UNSET') && root === 'STRICT'
}

function needsHole(mode: Mode, { namespace, root }: Parents): boolean {
  if (isOpen(mode)) return false
  if (mode === 'STRICT') return true
  return namespace === 'absent' ? root === 'STRICT' : namespace === 'STRICT'
}

function isParentStrict({ namespace, root }: Parents): boolean {
  return namespace === 'STRICT' || (root === 'STRICT' && (namespace === 'absent' || namespace === 'UNSET'))
}

function keysFor(
  sorted: readonly PeerAuthentication[],
  { namespace, labels }: SelectableWorkload,
  rootNamespace: string,
  everyone: string,
): readonly string[] {
  const own = sorted.filter(
    ({ metadata, spec }) => metadata.namespace === namespace && matchesSelector(spec.selector, labels),
  )
  const inRoot = sorted.filter(
    ({ metadata, spec }) => metadata.namespace === rootNamespace && spec.selector === undefined,
  )
  const isRoot = namespace === rootNamespace
  const whole = own.find(({ spec }) => selectsAll(spec.selector))
  const root = modeOf(isRoot ? whole : inRoot[0])
  const parent = isRoot ? 'absent' : modeOf(whole)
  const strict = parent === 'absent' || parent === 'UNSET' ? root === 'STRICT' : parent === 'STRICT'
  const workload = isRoot ? undefined : own.find(({ spec }) => !selectsAll(spec.selector))
  if (workload === undefined) return strict ? [everyone] : []
  return keysOfWorkload(workload, strict, everyone)
}

function keysOfWorkload(
  document: PeerAuthentication,
  parentStrict: boolean,
  everyone: string,
): readonly string[] {
  const mode = modeOf(document)
  const strict = mode === 'STRICT' || (mode === 'UNSET' && parentStrict)
  const modes = [...(document.spec.portLevelMtls ?? [])].map(([, tls]) => tls.mode)
  const { name, namespace } = document.metadata
  const converted = authorizationKey({ namespace, name: `${CONVERTED}${name}` })
  // With its own mode unset a port set to DISABLE is not taken for an exception.
  const isException = (port: MutualTlsMode | undefined): boolean =>
    strict ? port === 'PERMISSIVE' || (port === 'DISABLE' && mode === 'STRICT') : port === 'STRICT'
  if (modes.some(isException)) return [converted]
  return strict ? [everyone] : []
}
