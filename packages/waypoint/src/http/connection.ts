/** One connection that speaks HTTP, as the room keeps it. */
import type { HttpLimits } from '../limits.ts'
import type { RequestDesk } from './desk.ts'

export interface HttpConnection {
  /** Finish: what is under way is answered, the caller is told to take another connection, then this one ends. */
  drain(): void
  /** Cut it now. */
  destroy(): void
  /** Never rejects. */
  readonly closed: Promise<void>
}

export interface RoomFacts {
  readonly desk: RequestDesk
  readonly limits: HttpLimits
}
