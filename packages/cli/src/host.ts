/** What a command is given instead of the process: so that it can be tested, and embedded. */

export interface CliHost {
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly nodeVersion: string
  /** Whether to colour. */
  readonly colors: boolean
  /** Writes data: what a pipe wants. */
  stdout(text: string): void
  /** Writes everything else. */
  stderr(text: string): void
  /** Calls back for each Ctrl-C or request to end; returns the function that unsubscribes. */
  onInterrupt(listener: () => void): () => void
}

/** Everything went as asked; also a mesh that was ended by Ctrl-C. */
export const EXIT_OK = 0
/** What was asked for failed. */
export const EXIT_FAILED = 1
/** The command line was not understood. */
export const EXIT_USAGE = 2
