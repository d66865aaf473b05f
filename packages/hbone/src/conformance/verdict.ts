/** What a case finds, and how it says so. */
import { HboneError } from '../errors.ts'

/** A broken MUST makes a peer non-conforming; a broken SHOULD is a warning. */
export type ConformanceLevel = 'MUST' | 'SHOULD'

export interface ConformanceCase {
  readonly id: string
  readonly title: string
  /** The requirement of `docs/hbone.md` that the case is about: `HBONE-TLS-3`. */
  readonly requirement: string
  readonly level: ConformanceLevel
}

export interface ConformanceResult extends ConformanceCase {
  readonly outcome: 'pass' | 'fail' | 'skip'
  /** What was seen instead, or why it could not be looked at; empty when all is well. */
  readonly detail: string
  readonly ms: number
}

/** Those that were named, in their own order. @throws HboneError `AMBIENT_E_HBONE_OPTION` for a name that none has. */
export function selectCases<T extends ConformanceCase>(
  all: readonly T[],
  ids: readonly string[] | undefined,
): readonly T[] {
  if (ids === undefined) return all
  const unknown = ids.filter(id => !all.some(one => one.id === id))
  if (unknown.length > 0)
    throw new HboneError('AMBIENT_E_HBONE_OPTION', `cases: there is no ${unknown.join(', ')}`, {
      layer: 'config',
    })
  return all.filter(({ id }) => ids.includes(id))
}

/** Thrown by a case to end it: what a peer did is a finding, not an error of this package. */
export class Verdict extends Error {
  readonly outcome: 'fail' | 'skip'

  constructor(outcome: 'fail' | 'skip', detail: string) {
    super(detail)
    this.outcome = outcome
  }
}

export function fail(detail: string): never {
  throw new Verdict('fail', detail)
}

export function skip(detail: string): never {
  throw new Verdict('skip', detail)
}

/** Ends the case when what should be so is not. */
export function check(holds: boolean, detail: string): asserts holds {
  if (!holds) fail(detail)
}
