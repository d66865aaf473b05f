/** What a command is given instead of the process: so that it can be tested, and embedded. */
import type { Readable, Writable } from 'node:stream'

export interface CliHost {
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly nodeVersion: string
  /** Whether to colour. */
  readonly colors: boolean
  /** Whether somebody at a terminal sends Ctrl-C to us and to our children alike. */
  readonly interactive: boolean
  /** The raw ends, for a command that passes bytes on. */
  readonly input: Readable
  readonly output: Writable
  /** Writes data: what a pipe wants. */
  stdout(text: string): void
  /** Writes everything else. */
  stderr(text: string): void
  /**
   * This process will carry connections. V8 doubles its young generation while thousands of them are opened, up to 16 MiB
   * twice or three times, and keeps that; they outlive it anyway, so it is to stay as small as it begins.
   */
  carriesConnections?(): void
  /** Calls back for each Ctrl-C or other request to end; returns the function that unsubscribes. */
  onInterrupt(listener: (signal: NodeJS.Signals) => void): () => void
}

/** Everything went as asked; also a mesh that was ended by Ctrl-C. */
export const EXIT_OK = 0
/** What was asked for failed. */
export const EXIT_FAILED = 1
/** The command line was not understood. */
export const EXIT_USAGE = 2
/** Ctrl-C in the middle of what was asked for, as a shell has it. */
export const EXIT_INTERRUPTED = 130
