/** The reason of a verdict in the dialect `ztunnel`, for people, with the mistake of upstream that it is owed to. */
import type { Decision } from '@ambient/core'
import { atMost, listed } from './text.ts'
import type { PolicyTrace } from './verdict.ts'
import type { AppliedPolicy, ZtunnelSelection } from './ztunnel-selection.ts'
import { failedForNothing } from './ztunnel-trace.ts'
import type { PolicyRuleSpec } from '../documents/authorization-policy.ts'
import { textTest } from '../waypoint/text-match.ts'
import { expandPrincipals } from '../waypoint/trust-domains.ts'
import { ruleLosses } from '../ztunnel/translation-warnings.ts'

export interface ZtunnelFindings {
  readonly decision: Decision
  /** With the document's rule number. */
  readonly by: { readonly policy: string; readonly rule: number } | undefined
  readonly selection: ZtunnelSelection
  readonly trace: readonly PolicyTrace[]
  readonly trustDomains: readonly string[]
  /** Without scheme; absent in plaintext. */
  readonly principal: string | undefined
  /** Names that the workload lists and that nobody sends. */
  readonly unknown: readonly string[]
  /** Whether the PeerAuthentications as written deny it. */
  readonly intendedDenial: boolean
  readonly port: number
}

export function ztunnelReason(findings: ZtunnelFindings): string {
  return [
    mainReason(findings),
    ...atMost(findings.selection.applied.flatMap(policy => lossNotes(policy, findings))),
    ...atMost(findings.selection.applied.flatMap(policy => aliasNotes(policy, findings))),
    ...peerNotes(findings),
    ...absentNotes(findings),
  ].join('; ')
}

function mainReason({ decision, by }: ZtunnelFindings): string {
  if (by !== undefined)
    return `${decision.allowed ? 'allowed by' : 'explicitly denied by'}: ${by.policy} rules[${by.rule}]`
  if (decision.allowed) return 'no ALLOW policy selected you, so what no DENY policy matches is allowed'
  return `allow policies exist, but none allowed: ${listed(decision.allowed ? [] : decision.considered)}`
}

/** Only losses that may have made this verdict. */
function lossNotes({ key, document }: AppliedPolicy, findings: ZtunnelFindings): readonly string[] {
  const { decision, by, principal, trace } = findings
  const allow = (document.spec.action ?? 'ALLOW') === 'ALLOW'
  const rules = trace.find(({ policy }) => policy === key)?.rules ?? []
  return (document.spec.rules ?? []).flatMap((rule, index) => {
    const decided = by?.policy === key && by.rule === index
    const found = rules[index]
    const missed = allow
      ? !decision.allowed && by === undefined && found?.matched === false
      : decision.allowed && found !== undefined && failedForNothing(found)
    return ruleLosses(rule, allow)
      .filter(({ effect }) => {
        if (effect === 'narrower') return missed
        return effect === 'wider' ? decided : decided && principal === undefined
      })
      .map(({ text }) => `${key} rules[${index}]: ${text}`)
  })
}

/** ztunnel compares principals as text: neither an alias nor `cluster.local` means the mesh's own trust domain there. */
function aliasNotes({ key, document }: AppliedPolicy, findings: ZtunnelFindings): readonly string[] {
  const { principal, trustDomains } = findings
  if (principal === undefined) return []
  return (document.spec.rules ?? []).flatMap((rule, index) => {
    const meant = principalsOf(rule).find(values => {
      const isOne = (list: readonly string[]): boolean => textTest(list, { star: 'not-empty' })(principal)
      return !isOne(values) && isOne(expandPrincipals(values, trustDomains))
    })
    return meant === undefined
      ? []
      : [
          `${key} rules[${index}]: ztunnel knows no trust domain aliases and no "cluster.local" that means the own one, so ${listed(meant)} does not match ${principal}`,
        ]
  })
}

function principalsOf({ from = [], when = [] }: PolicyRuleSpec): readonly (readonly string[])[] {
  return [
    ...from.flatMap(({ source }) => [source.principals ?? [], source.notPrincipals ?? []]),
    ...when
      .filter(({ key }) => key === 'source.principal')
      .flatMap(({ values, notValues }) => [values ?? [], notValues ?? []]),
  ]
}

function peerNotes({
  decision,
  by,
  selection,
  unknown,
  intendedDenial,
  port,
}: ZtunnelFindings): readonly string[] {
  const isPeer = selection.peers.some(({ namespace, name }) => `${namespace}/${name}` === by?.policy)
  const notSent = unknown.length > 0
  if (decision.allowed && intendedDenial) {
    return [
      `a PeerAuthentication makes port ${port} STRICT, but ${
        notSent
          ? `istiod lists ${listed(unknown)} for the workload and never sends it; ztunnel skips names that it does not know, and plaintext passes`
          : 'istiod converts it to less: plaintext passes'
      }`,
    ]
  }
  if (isPeer && !intendedDenial)
    return [
      `a PeerAuthentication opens port ${port}, but istiod, with the workload's own mode unset, takes DISABLE for no exception: the port stays closed to plaintext`,
    ]
  return []
}

/** What nobody enforces here: the mistakes always, the rest where no rule decided. */
function absentNotes({ decision, by, selection }: ZtunnelFindings): readonly string[] {
  const undecided = by === undefined
  const told = selection.absent.filter(
    ({ bug, document }) => bug || undecided || (decision.allowed && document.spec.action === 'CUSTOM'),
  )
  return atMost(told.map(({ key, why }) => `${key} is not asked: ${why}`))
}
