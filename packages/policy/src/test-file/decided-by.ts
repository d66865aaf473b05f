/** What a test says of who decided, and whether it was so. */
import { quote } from '../yaml/problem.ts'
import type { PolicyVerdict } from '../evaluator/verdict.ts'
import type { Fail } from './terms.ts'

/**
 * `shop/web`, `shop/web[rule 0]`, `default` (no policy applies) or `none` (ALLOW policies apply and none matches). Rules
 * count from 0. `shop/web rules[0]` of our explanations and Envoy's own `ns[shop]-policy[web]-rule[0]` are read too, so that
 * they can be pasted.
 */
export type DecidedBy = 'default' | 'none' | `${string}/${string}` | `ns[${string}`

/** A policy as `namespace/name`, and one of its rules where the text names one. */
export interface NamedDecider {
  readonly policy: string
  readonly rule: number | undefined
}

const POLICY = /^([^\s[\]/]+\/[^\s[\]/]+)(?:\[(?:rule )?(\d+)\]| rules\[(\d+)\])?$/
const ENVOY = /^(?:istio-ext-authz-.+-)?ns\[([^\]]+)\]-policy\[([^\]]+)\]-rule\[(\d+)\]$/

/** The mistake in it, or nothing. */
export function checkDecidedBy(text: string, fail: Fail): DecidedBy | undefined {
  if (isDecidedBy(text)) return text
  return fail(
    `expected NAMESPACE/NAME, NAMESPACE/NAME[rule N], "default" (no policy applies) or "none" (no ALLOW policy matches), found ${quote(text)}`,
  )
}

/** Whether the verdict was decided by what the text names. */
export function wasDecidedBy(text: DecidedBy, { action, policy, rule }: PolicyVerdict): boolean {
  if (text === 'default') return action === 'default'
  if (text === 'none') return action === 'ALLOW' && policy === null
  const wanted = deciderOf(text)
  return wanted?.policy === policy && (wanted.rule === undefined || wanted.rule === rule)
}

/** Who decided, in the words that tests use. */
export function decidedBy({ action, policy, rule }: PolicyVerdict): string {
  if (policy !== null) return rule === null ? policy : `${policy}[rule ${rule}]`
  return action === 'ALLOW' ? 'none' : 'default'
}

/** Nothing for `default`, `none` and what is neither. */
export function deciderOf(text: string): NamedDecider | undefined {
  const [, namespace, name, envoyRule] = ENVOY.exec(text) ?? []
  if (namespace !== undefined) return { policy: `${namespace}/${name}`, rule: Number(envoyRule) }
  const [, policy, ours, explained] = POLICY.exec(text) ?? []
  const rule = ours ?? explained
  return policy === undefined ? undefined : { policy, rule: rule === undefined ? undefined : Number(rule) }
}

function isDecidedBy(text: string): text is DecidedBy {
  return text === 'default' || text === 'none' || deciderOf(text) !== undefined
}
