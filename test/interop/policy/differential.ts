/** Both sides' verdicts side by side: what has to be equal, and how many there were. */
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { type Call, call, type PolicySetCase, policySet } from './arbitraries.ts'
import { ours, type Verdict } from './ours.ts'
import { theirs } from './theirs.ts'

/** More of it: `AMBIENT_DIFFERENTIAL_SETS=1000 AMBIENT_DIFFERENTIAL_SEED=7`. */
export const SETS = Number(process.env['AMBIENT_DIFFERENTIAL_SETS'] ?? 150)
export const SEED = Number(process.env['AMBIENT_DIFFERENTIAL_SEED'] ?? 20_261_121)
const CALLS_PER_SET = 40
/** Each is a listener of one Envoy. */
const SETS_AT_ONCE = 150

export interface Difference {
  readonly ours: Partial<Verdict>
  readonly theirs: Partial<Verdict>
  readonly call: Call
  readonly set: PolicySetCase
}

export interface Compared {
  readonly count: number
  /** By status. */
  readonly verdicts: ReadonlyMap<number, number>
  readonly differences: readonly Difference[]
}

export async function compare(tcp: boolean): Promise<Compared> {
  const sets = fc.sample(policySet, { numRuns: SETS, seed: SEED })
  const calls = fc.sample(call, { numRuns: 4000, seed: SEED })
  const verdicts = new Map<number, number>()
  const differences: Difference[] = []
  let count = 0
  for (let from = 0; from < sets.length; from += SETS_AT_ONCE) {
    const questions = sets.slice(from, from + SETS_AT_ONCE).map((set, index) => ({
      set,
      custom: index % 2 === 0 ? ('deny' as const) : ('allow' as const),
      calls: Array.from(
        { length: CALLS_PER_SET },
        (_, at) => calls[(index * 37 + from + at) % calls.length],
      ).filter(one => one !== undefined),
    }))
    const answers = await theirs(questions, tcp)
    for (const [index, { set, calls: own, custom }] of questions.entries()) {
      const decide = ours(set, tcp ? 'envoy-tcp' : 'envoy-http', custom)
      for (const [at, one] of own.entries()) {
        const their = answers[index]?.[at]
        if (their === undefined) throw new Error('a call without an answer')
        const [mine, found] = comparable(decide(one), their, tcp)
        count++
        verdicts.set(their.status, (verdicts.get(their.status) ?? 0) + 1)
        if (!isDeepStrictEqual(mine, found)) differences.push({ ours: mine, theirs: found, call: one, set })
      }
    }
  }
  return { count, verdicts, differences }
}

/** What Envoy has not come to, or does not log, it cannot report. */
function comparable(
  mine: Verdict,
  their: Verdict,
  tcp: boolean,
): readonly [Partial<Verdict>, Partial<Verdict>] {
  const both = (...names: readonly (keyof Verdict)[]) => [pick(mine, names), pick(their, names)] as const
  if (their.status === 400 || mine.status === 400) return both('status')
  const isDenied = their.status !== 200
  if (isDenied && their.custom) return both('status', 'by', 'path')
  // Over TCP it does not say which rule allowed.
  if (tcp && !isDenied) return both('status', 'audited', 'dryRun', 'custom')
  // A DENY that matches is the end: the filter of the ALLOW policies is not asked.
  const isOver = isDenied && their.by !== undefined
  const dryRun = isOver ? mine.dryRun.filter(finding => finding.startsWith('DENY')) : mine.dryRun
  return [{ ...mine, dryRun }, their]
}

function pick(verdict: Verdict, names: readonly (keyof Verdict)[]): Partial<Verdict> {
  return Object.fromEntries(names.map(name => [name, verdict[name]]))
}
