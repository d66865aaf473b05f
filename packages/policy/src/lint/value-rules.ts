/** Values that mean something else than their writer thinks, or nothing at all. */
import type { LintId } from './catalog.ts'
import type { LintContext } from './finding.ts'
import { fieldsOf, type RuleField } from './rule-fields.ts'
import type { AuthorizationAction } from '../documents/authorization-policy.ts'
import { normalizePath, type PathNormalization } from '../waypoint/normalize-path.ts'
import { isPathTemplate } from '../waypoint/path-template.ts'
import { quote } from '../yaml/problem.ts'

type Found = readonly [LintId, string]
interface Place {
  readonly field: RuleField
  readonly action: AuthorizationAction
  readonly pathNormalization: PathNormalization
}
type ValueCheck = (value: string, place: Place) => readonly Found[]

const CHECKS: Readonly<Record<string, readonly ValueCheck[]>> = {
  'source.principal': [principalForm, oneStar],
  'request.auth.principal': [oneStar],
  'source.ip': [mappedBlock],
  'remote.ip': [mappedBlock],
  'destination.ip': [mappedBlock],
  'destination.port': [portZero],
  hosts: [hostForm, oneStar],
  methods: [methodCase, oneStar],
  paths: [pathForm, oneStar],
}

export function checkValues(context: LintContext): void {
  const { pathNormalization } = context.settings
  for (const policy of context.documents.authorizationPolicies) {
    const { action = 'ALLOW' } = policy.spec
    for (const [index, rule] of (policy.spec.rules ?? []).entries())
      for (const field of fieldsOf(rule, index)) {
        const checks = CHECKS[field.key] ?? (field.key.startsWith('request.') ? [oneStar] : [])
        for (const [at, value] of field.values.entries())
          for (const check of checks)
            for (const [id, message] of check(value, { field, action, pathNormalization }))
              context.report(id, policy, `${field.path}[${at}]`, message)
      }
  }
}

/** What a value never equals, in every dialect: also asked for by `never-matches`. */
export function isUnmatchable(key: string, value: string): boolean {
  if (key === 'source.principal') return value.startsWith('spiffe://')
  if (key === 'destination.port') return Number(value) === 0
  return key === 'paths' && pathProblem(value) !== undefined
}

function principalForm(value: string): readonly Found[] {
  if (value.startsWith('spiffe://'))
    return [['principal-with-scheme', `${quote(value)} never matches: write it without "spiffe://"`]]
  if (value.includes('*')) return []
  const parts = value.split('/')
  const [, ns, , sa] = parts
  if (parts.length === 5 && ns === 'ns' && sa === 'sa' && parts.every(part => part !== '')) return []
  return [
    [
      'principal-form',
      `${quote(value)} is no identity of Istio's form, TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`,
    ],
  ]
}

/** Only a star at one end means anything. Templates of paths have their own check when they are read. */
function oneStar(value: string, { field: { key } }: Place): readonly Found[] {
  if (key === 'paths' && isPathTemplate(value)) return []
  const literal = value.startsWith('*') ? value.slice(1) : value.endsWith('*') ? value.slice(0, -1) : value
  if (!literal.includes('*')) return []
  const form = value.startsWith('*') ? 'suffix' : value.endsWith('*') ? 'prefix' : 'text'
  return [['two-wildcards', `${quote(value)} means the ${form} ${quote(literal)}, with a real star in it`]]
}

function methodCase(value: string): readonly Found[] {
  const upper = value.toUpperCase()
  if (value === upper) return []
  return [['method-case', `${quote(value)} is compared with its case: clients send ${quote(upper)}`]]
}

function mappedBlock(value: string): readonly Found[] {
  if (!/^(0{0,4}:){2,5}ffff:/i.test(value)) return []
  return [['mapped-block', `${quote(value)} matches no IPv4 address at Envoy: write the block as IPv4`]]
}

function portZero(value: string): readonly Found[] {
  return Number(value) === 0 ? [['unmatchable-value', 'no connection has port 0']] : []
}

function hostForm(value: string, place: Place): readonly Found[] {
  if (/[/\s@?#]/.test(value))
    return [['host-form', `${quote(value)} is no host: expected a name, or NAME:PORT`]]
  return hostPort(value, place)
}

/** Where a name without its port lets somebody through. */
function hostPort(value: string, { field, action }: Place): readonly Found[] {
  if (value.includes('*') || /:\d+$/.test(value)) return []
  const others = setOf(field.values)
  const covered = [`${value}:*`, `${value}*`, '*'].some(other => others.has(other))
  const denies = action === 'DENY' ? !field.negated : field.negated
  if (covered || !denies) return []
  return [
    [
      'host-without-port',
      `${quote(value)} does not match ${quote(`${value}:8080`)}: add ${quote(`${value}:*`)}`,
    ],
  ]
}

/** One for each field, which may have thousands of values. */
function setOf(values: readonly string[]): ReadonlySet<string> {
  const set = sets.get(values) ?? new Set(values)
  sets.set(values, set)
  return set
}

const sets = new WeakMap<readonly string[], ReadonlySet<string>>()

function pathForm(value: string, { pathNormalization }: Place): readonly Found[] {
  const problem = pathProblem(value)
  if (problem !== undefined) return [['unmatchable-value', `${quote(value)} matches no path: ${problem}`]]
  if (value.includes('*') || isPathTemplate(value)) return []
  const normalized = normalizePath(value, pathNormalization)
  if (!normalized.ok || normalized.path === value) return []
  return [
    [
      'path-not-canonical',
      `a request for ${quote(value)} arrives as ${quote(normalized.path)}: the value does not match it`,
    ],
  ]
}

/** What the text of no path has, whatever the normalization. */
function pathProblem(value: string): string | undefined {
  if (value === '*') return undefined
  const [text, place] = value.startsWith('*')
    ? [value.slice(1), 'end']
    : value.endsWith('*')
      ? [value.slice(0, -1), 'begin']
      : [value, 'begin']
  if (/[?#]/.test(text)) return 'paths are compared without query and fragment'
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code < 0x20 || code > 0x7e) return 'paths are printable ASCII, other characters are escaped'
  }
  return place === 'begin' && !text.startsWith('/') ? 'paths begin with "/"' : undefined
}
