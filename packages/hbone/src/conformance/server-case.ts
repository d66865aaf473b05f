/** One named question to a server. */
import type { Target } from './target.ts'
import type { ConformanceLevel } from './verdict.ts'

export interface ServerCase {
  /** As `--case` names it. */
  readonly id: string
  readonly title: string
  readonly requirement: string
  readonly level: ConformanceLevel
  /** Resolves when all is as it should be; throws a verdict otherwise. */
  run(target: Target): Promise<void>
}
