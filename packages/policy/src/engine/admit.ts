/**
 * The guard: permits that live as long as their connections and are withdrawn when a changed policy denies them. A
 * connection is registered before it is judged, so that no change slips in between.
 */
import {
  type Admission,
  type Authorizer,
  type Connection,
  type Decision,
  type Denial,
  type Logger,
  messageOf,
  type Permit,
  silentLogger,
  topics,
  type Workload,
} from '@ambient/core'
import { type DecideOptions, decide, type DryRunFinding } from './decide.ts'
import type { PolicyStore } from './store.ts'
import { defaults } from '../defaults.ts'
import { PolicyError } from '../errors.ts'

export interface AuthorizerOptions {
  readonly store: PolicyStore
  /** Decisions at debug, broken callbacks at error. */
  readonly logger?: Logger
  /**
   * The workload as it is now, for re-checks: its list of policies may have changed since the connection began.
   * `undefined` means that it is gone, and the one of the connection counts.
   */
  readonly currentWorkload?: (uid: string) => Workload | undefined
  readonly unknownPolicy?: 'deny' | 'skip'
}

export interface RecheckOptions {
  /**
   * Withdraw only what a known DENY matches: for a workload whose other policies are still on their way, so that no
   * connection is cut for a policy that nobody has read. Default: false.
   */
  readonly explicitOnly?: boolean
}

export interface PolicyAuthorizer extends Authorizer {
  /** Judges every live connection again; the store's changes do it by themselves, a directory's need this call. */
  recheck(options?: RecheckOptions): void
  /** Live permits. */
  readonly size: number
  /** Stops watching the store and forgets its permits without withdrawing them. Idempotent. */
  close(): void
}

type Withdrawn = (denial: Denial) => void
type Allowed = Extract<Decision, { allowed: true }>

export function createAuthorizer(options: AuthorizerOptions): PolicyAuthorizer {
  return new LiveAuthorizer(options)
}

class LivePermit implements Permit {
  decision: Allowed = pending
  denial: Denial | undefined
  #onWithdrawn: Withdrawn | undefined

  readonly connection: Connection
  readonly #forget: (permit: LivePermit) => void
  readonly #failed: (error: unknown) => void

  constructor(
    connection: Connection,
    forget: (permit: LivePermit) => void,
    failed: (error: unknown) => void,
  ) {
    this.connection = connection
    this.#forget = forget
    this.#failed = failed
  }

  get onWithdrawn(): Withdrawn | undefined {
    return this.#onWithdrawn
  }

  set onWithdrawn(listener: Withdrawn | undefined) {
    this.#onWithdrawn = listener
    // Withdrawn before anybody listened: whoever comes late is told, but never from within the assignment.
    if (this.denial !== undefined && listener !== undefined) queueMicrotask(() => this.#tell())
  }

  withdraw(denial: Denial): void {
    this.denial = denial
    this.#tell()
  }

  release(): void {
    this.#onWithdrawn = undefined
    this.#forget(this)
  }

  #tell(): void {
    const [listener, denial] = [this.#onWithdrawn, this.denial]
    this.#onWithdrawn = undefined
    if (listener === undefined || denial === undefined) return
    this.denial = undefined
    try {
      listener(denial)
    } catch (error) {
      this.#failed(error)
    }
  }
}

/** What a permit holds while it is being judged; nobody sees it. */
const pending: Allowed = Object.freeze({ allowed: true, reason: 'not yet judged' })

class LiveAuthorizer implements PolicyAuthorizer {
  readonly #permits = new Set<LivePermit>()
  readonly #store: PolicyStore
  readonly #logger: Logger
  readonly #currentWorkload: (uid: string) => Workload | undefined
  readonly #options: DecideOptions
  readonly #unwatch: () => void
  #closed = false

  constructor(options: AuthorizerOptions) {
    this.#store = options.store
    this.#logger = options.logger ?? silentLogger
    this.#currentWorkload = options.currentWorkload ?? (() => undefined)
    this.#options = { unknownPolicy: options.unknownPolicy ?? defaults.unknownPolicy }
    this.#unwatch = options.store.watch(() => this.recheck())
  }

  get size(): number {
    return this.#permits.size
  }

  decide(connection: Connection): Decision {
    return decide(this.#store.policies, connection, this.#options)
  }

  /** @throws PolicyError `AMBIENT_E_CLOSED` after `close()`. */
  admit(connection: Connection): Admission {
    if (this.#closed) throw new PolicyError('AMBIENT_E_CLOSED', 'the authorizer is closed')
    const permit = new LivePermit(
      connection,
      permit => void this.#permits.delete(permit),
      error => this.#logger.error({ error: messageOf(error) }, 'withdrawing a permit failed'),
    )
    this.#permits.add(permit)
    const decision = this.#judge(connection)
    if (decision.allowed) {
      permit.decision = decision
      return { allowed: true, permit }
    }
    this.#permits.delete(permit)
    return { allowed: false, denial: decision }
  }

  recheck({ explicitOnly = false }: RecheckOptions = {}): void {
    for (const permit of [...this.#permits]) {
      // Released by the callback of another one.
      if (!this.#permits.has(permit)) continue
      const connection = this.#withCurrentWorkload(permit.connection)
      const decision = explicitOnly
        ? decide(this.#store.policies, connection, { unknownPolicy: 'skip' })
        : this.decide(connection)
      // Without `by` nothing denied it; an ALLOW that would is perhaps still to come.
      if (decision.allowed || (explicitOnly && decision.by === undefined)) continue
      this.#permits.delete(permit)
      this.#tell(connection, decision)
      permit.withdraw(decision)
    }
  }

  close(): void {
    this.#closed = true
    this.#unwatch()
    this.#permits.clear()
  }

  #judge(connection: Connection): Decision {
    const decision = decide(this.#store.policies, connection, {
      ...this.#options,
      onDryRun: finding => this.#logger.debug(dryRunFields(connection, finding), dryRunText(finding)),
    })
    this.#tell(connection, decision)
    return decision
  }

  #withCurrentWorkload(connection: Connection): Connection {
    const { workload } = connection.destination
    const current = workload && this.#currentWorkload(workload.uid)
    if (current === undefined || current === workload) return connection
    return { ...connection, destination: { ...connection.destination, workload: current } }
  }

  #tell(connection: Connection, decision: Decision): void {
    const { allowed, reason, by } = decision
    const rule = by?.rule === undefined ? {} : { rule: by.rule }
    const policy = by === undefined ? {} : { policy: by.policy, ...rule }
    this.#logger.debug({ connection: connection.id, allowed, ...policy }, reason)
    if (topics.decision.hasSubscribers) topics.decision.publish({ connection, allowed, reason, ...policy })
  }
}

function dryRunFields(connection: Connection, finding: DryRunFinding): Readonly<Record<string, unknown>> {
  return {
    connection: connection.id,
    ...(finding.matched ? { policy: finding.policy, rule: finding.rule } : {}),
  }
}

/** ztunnel's words. */
function dryRunText(finding: DryRunFinding): string {
  if (!finding.matched) return 'dry-run: no allow policies match'
  return finding.action === 'Deny' ? 'dry-run: deny policy match' : 'dry-run: allow policy match'
}
