/** The error base of every ambient package: a literal code, a message that names its subjects, a cause. */

/** Where in the stack a failure happened; every error says it, so that a log line can be read without the code. */
export type Layer = 'tcp' | 'tls' | 'identity' | 'hbone' | 'policy' | 'discovery' | 'config' | 'http'

export interface AmbientErrorOptions {
  readonly cause?: unknown
  readonly layer?: Layer
}

const brand = Symbol.for('ambient.error')

/**
 * Base class of the one error class that each package exports. `code` is a literal union per package, so a
 * `switch (error.code)` narrows. Messages are for people and may change; codes may not.
 */
export class AmbientError<Code extends string = string> extends Error {
  readonly code: Code
  readonly layer: Layer | undefined

  constructor(code: Code, message: string, options: AmbientErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.layer = options.layer
    Object.defineProperty(this, brand, { value: true })
  }

  override get name(): string {
    return this.constructor.name
  }
}

/** True for an error of any ambient package, also when two copies of a package are installed. */
export function isAmbientError(error: unknown): error is AmbientError {
  return error instanceof Error && (error as Error & { [brand]?: true })[brand] === true
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export type CoreErrorCode =
  | 'AMBIENT_E_SPIFFE_ID'
  | 'AMBIENT_E_HOST_PORT'
  | 'AMBIENT_E_CIDR'
  | 'AMBIENT_E_CONNECT_TIMEOUT'
  | 'AMBIENT_E_CONNECT_FAILED'
  | 'AMBIENT_E_LISTEN'
  /** A variable of the environment cannot be used; the message names it. */
  | 'AMBIENT_E_CONFIG'
  | 'AMBIENT_E_CHANNEL_RESET'
  | 'AMBIENT_E_CLOSED'

export class CoreError extends AmbientError<CoreErrorCode> {}
