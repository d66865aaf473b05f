/**
 * Envoy's JWT filter and ours over the same rules and generated tokens: the same status, body and `www-authenticate`, and of
 * requests that pass the same headers and path for the service. Needs an Envoy binary: ENVOY=path/to/envoy.
 */
import { isDeepStrictEqual } from 'node:util'
import { createJwtAuthenticator, type JwtRule, normalizePath } from '@ambient/policy'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { noEnvoy } from '../hbone-envoy.ts'
import { ask } from './ask.ts'
import { SEED } from './differential.ts'
import { type EnvoyRecord, startPolicyEnvoy } from './envoy.ts'
import { jwtFilter } from './jwt.ts'
import { type JwtCall, jwtCall, RULE_SETS, SHOWN } from './jwt-cases.ts'

const CALLS_PER_SET = Number(process.env['AMBIENT_DIFFERENTIAL_TOKENS'] ?? 200)
const CALLER = {
  uri: undefined,
  ip: '127.0.0.1',
  remoteIp: '10.0.0.1',
  destination: { ip: '10.96.0.1', port: 80 },
}
const AT_ONCE = 4
const REFUSED = [401, 403]

interface Outcome {
  readonly status: number
  readonly body?: string
  readonly authenticate?: string | undefined
  readonly detail?: string | null
  /** As the service gets it. */
  readonly path?: string | null | undefined
  readonly headers?: Readonly<Record<string, string>>
}

async function ours(rules: readonly JwtRule[], call: JwtCall): Promise<Outcome> {
  const normalized = normalizePath(call.target, 'BASE')
  if (!normalized.ok) return { status: 400 }
  const outcome = await createJwtAuthenticator(rules).authenticate({
    ...{ method: call.method, scheme: 'http', authority: 'web', path: normalized.path },
    header: name => call.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value),
  })
  if (outcome.kind === 'refused') {
    const { status, body, headers, detail } = outcome
    return { status, body, authenticate: headers.find(([name]) => name === 'www-authenticate')?.[1], detail }
  }
  const { removeHeaders, setHeaders, path = normalized.path } = outcome.edits
  const sent = call.headers.map(([name, value]) => [name.toLowerCase(), value] as const)
  const left = sent.filter(
    ([name]) => !removeHeaders.includes(name) && !setHeaders.some(([set]) => set === name),
  )
  const of = (name: string): readonly string[] =>
    [...left, ...setHeaders].flatMap(([key, value]) => (key === name ? [value] : []))
  return { status: 200, path, headers: shown(name => logged(name, of(name))) }
}

function shown(read: (name: string) => string | null | undefined): Readonly<Record<string, string>> {
  return Object.fromEntries(
    SHOWN.flatMap(name => {
      const value = read(name)
      return value === undefined || value === null ? [] : [[name, value]]
    }),
  )
}

/** Envoy joins what it knows by name, and logs the first of others. */
function logged(name: string, values: readonly string[]): string | undefined {
  return name === 'authorization' && values.length > 0 ? values.join(',') : values[0]
}

/** Envoy logs bytes; ours are one character each. */
function bytesIn(text: string | null | undefined): string | undefined {
  return text === null || text === undefined ? undefined : Buffer.from(text).toString('latin1')
}

function theirs(answer: string, record: EnvoyRecord | undefined): Outcome {
  const status = Number(answer.slice(9, 12))
  if (status === 200)
    return { status, path: record?.path, headers: shown(name => bytesIn(record?.headers?.[name])) }
  if (!REFUSED.includes(status)) return { status }
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  const authenticate = /\r\nwww-authenticate: (.*)/i.exec(head)?.[1]
  return { status, body, authenticate, detail: record?.detail ?? null }
}

/**
 * What differs on purpose: our realm names no parameter that may hold a token, and what is left of a query stays as it was
 * written, where Envoy sorts it and writes `a` as `a=`. (Cookies are not compared: we take a token out of them, Envoy leaves it.)
 */
function comparable({ authenticate, path, ...rest }: Outcome): Outcome {
  return {
    ...rest,
    authenticate: authenticate?.replace(/\?[^"]*/, ''),
    path: path && inOneOrder(path),
  }
}

function inOneOrder(path: string): string {
  const [before = '', query] = path.split(/\?(.*)/s)
  if (query === undefined) return before
  const pairs = query.split('&').map(pair => pair.replace(/=$/, ''))
  return `${before}?${pairs.sort().join('&')}`
}

function bytesOf({ method, target, headers }: JwtCall): Buffer {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'host: web',
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

/** What is printed shows no token; seed and number make it again. */
function withoutTokens(text: string): string {
  return text.replace(/[\w-]{12,}(\.[\w-]{6,})+/g, found => `${found.slice(0, 6)}…`)
}

describe.skipIf(noEnvoy !== '')(`Envoy's JWT filter and ours${noEnvoy}`, () => {
  it('say the same of generated tokens', { timeout: 1_200_000 }, async () => {
    const jobs = RULE_SETS.flatMap((rules, set) =>
      fc
        .sample(jwtCall(rules), { numRuns: CALLS_PER_SET, seed: SEED + set })
        .map((call, index) => ({ call, id: `${set}/${index}`, set })),
    )
    const envoy = await startPolicyEnvoy(
      RULE_SETS.map(rules => ({ tcp: false, normalization: 'BASE', jwt: jwtFilter(rules), shown: SHOWN })),
    )
    const answers = new Map<string, string>()
    try {
      const waiting = jobs.values()
      const work = async (): Promise<void> => {
        for (const { call, id, set } of waiting) {
          const answer = await ask(envoy.ports[set] ?? 0, {
            caller: CALLER,
            id,
            bytes: bytesOf(call),
            tcp: false,
          })
          answers.set(id, answer.toString('latin1'))
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, work))
      const records = await envoy.finish()
      const counts = new Map<string, number>()
      const differences: unknown[] = []
      let refused = 0
      for (const { call, id, set } of jobs) {
        const rules = RULE_SETS[set] ?? []
        const their = theirs(answers.get(id) ?? '', records.get(id))
        const mine = await ours(rules, call)
        const key = their.body ?? String(their.status)
        counts.set(key, (counts.get(key) ?? 0) + 1)
        const isRefused = call.odd && REFUSED.includes(mine.status)
        if (isRefused) refused++
        else if (!isDeepStrictEqual(comparable(mine), comparable(their)))
          differences.push({ id, mine, their, call, rules: rules.map(rule => ({ ...rule, jwks: '…' })) })
      }
      console.log(
        `seed ${SEED}: ${jobs.length} requests under ${RULE_SETS.length} sets of rules, ${refused} odd ones refused, ${counts.size} different answers`,
      )
      expect(differences.length, withoutTokens(JSON.stringify(differences[0] ?? {}))).toBe(0)
      // Most of the failures have to occur.
      expect(counts.size).toBeGreaterThan(15)
    } finally {
      await envoy.stop()
    }
  })
})
