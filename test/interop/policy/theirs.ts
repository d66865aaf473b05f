/** Envoy's verdicts: from generated policies to listeners, from calls to bytes, from the access log to a verdict. */
import type { Call, PolicySetCase } from './arbitraries.ts'
import { TRUST_DOMAINS } from './arbitraries.ts'
import { ask, clientHello } from './ask.ts'
import { type EnvoyRecord, type PolicyListener, startPolicyEnvoy } from './envoy.ts'
import { hmacToken, jwtFilter } from './jwt.ts'
import { authentication, type Verdict } from './ours.ts'
import { rbacLane } from './rbac.ts'

/** How many calls are under way at once. */
const AT_ONCE = 4
const BAD_PROVIDER = '-deny-due-to-bad-CUSTOM-action'

export interface Question {
  readonly set: PolicySetCase
  readonly custom: 'allow' | 'deny'
  readonly calls: readonly Call[]
}

/** One verdict per call of each question, in their order. */
export async function theirs(
  questions: readonly Question[],
  tcp: boolean,
): Promise<readonly (readonly Verdict[])[]> {
  const envoy = await startPolicyEnvoy(questions.map(question => listenerOf(question, tcp)))
  try {
    const jobs = questions.flatMap(({ calls }, set) =>
      calls.map((call, index) => ({ set, id: `${set}/${index}`, call })),
    )
    const waiting = jobs.values()
    const work = async (): Promise<void> => {
      for (const { set, id, call } of waiting) {
        const caller = { ...call, remoteIp: call.proxiedIp }
        await ask(envoy.ports[set] ?? 0, { caller, id, bytes: await bytesOf(call, tcp), tcp })
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
    const records = await envoy.finish()
    return questions.map(({ calls }, set) =>
      calls.map((_, index) => readRecord(records.get(`${set}/${index}`), tcp)),
    )
  } finally {
    await envoy.stop()
  }
}

function listenerOf({ set: { policies, normalization }, custom }: Question, tcp: boolean): PolicyListener {
  const options = { tcp, trustDomains: TRUST_DOMAINS }
  const lanes = {
    audit: rbacLane(policies, 'AUDIT', options),
    deny: rbacLane(policies, 'DENY', options),
    allow: rbacLane(policies, 'ALLOW', options),
    custom: rbacLane(policies, 'CUSTOM', options, custom === 'deny' ? BAD_PROVIDER : ''),
  }
  return {
    tcp,
    normalization,
    ...lanes,
    // With a provider that says yes: a shadow rule that nobody acts on.
    ...(custom === 'allow' && lanes.custom?.rules !== undefined
      ? { custom: { shadow: lanes.custom.rules } }
      : {}),
    ...(tcp ? {} : { jwt: jwtFilter(authentication.spec.jwtRules ?? []) }),
  }
}

async function bytesOf(call: Call, tcp: boolean): Promise<Buffer> {
  if (tcp) return call.sni === undefined ? Buffer.from('hello') : await helloOf(call.sni)
  const lines = [
    `${call.method} ${call.target} HTTP/1.1`,
    `host: ${call.authority}`,
    ...(call.forwardedFor === undefined ? [] : [`x-forwarded-for: ${call.forwardedFor}`]),
    ...(call.claims === undefined ? [] : [`authorization: Bearer ${hmacToken(call.claims)}`]),
    ...call.headers.map(([name, value]) => `${name}: ${value}`),
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

const hellos = new Map<string, Promise<Buffer>>()
function helloOf(name: string): Promise<Buffer> {
  const known = hellos.get(name) ?? clientHello(name)
  hellos.set(name, known)
  return known
}

function readRecord(record: EnvoyRecord | undefined, tcp: boolean): Verdict {
  if (record === undefined) throw new Error('Envoy logged nothing of a call')
  const rbac = record.rbac ?? {}
  const refused = /^rbac_access_denied_matched_policy\[(.*)\]$/.exec(record.detail ?? '')?.[1]
  const status = tcp ? (refused === undefined ? 200 : 0) : (record.code ?? 0)
  const dryRun = (['DENY', 'ALLOW'] as const).flatMap(action => {
    const prefix = `istio_dry_run_${action.toLowerCase()}_shadow_`
    const result = rbac[`${prefix}engine_result`]
    const rule = ruleOf(rbac[`${prefix}effective_policy_id`])
    return result === undefined ? [] : [[action, result, ...(rule === undefined ? [] : [rule])].join(' ')]
  })
  return {
    status,
    by: refused === undefined ? ruleOf(rbac['allow_enforced_effective_policy_id']) : ruleOf(refused),
    path: tcp ? undefined : (record.path ?? undefined),
    audited: record.audited === true || record.audited === 'true',
    dryRun,
    custom: refused?.endsWith(BAD_PROVIDER) === true || 'istio_ext_authz_shadow_effective_policy_id' in rbac,
  }
}

function ruleOf(id: string | undefined): string | undefined {
  const [, namespace, name, rule] = /ns\[(.*?)\]-policy\[(.*?)\]-rule\[(\d+)\]/.exec(id ?? '') ?? []
  return rule === undefined ? undefined : `${namespace}/${name}#${rule}`
}
