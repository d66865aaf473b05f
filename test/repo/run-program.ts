/** Runs a program to its end, with all of its output. */
import { spawn } from 'node:child_process'

export interface Ending {
  /** Exit status; the signal's name when it was killed. */
  readonly code: number | string
  /** stdout and stderr, as they came. */
  readonly output: string
}

export interface RunOptions {
  readonly cwd: string
  readonly env?: NodeJS.ProcessEnv
  /** It is killed after this time. */
  readonly timeoutMs: number
}

export function runProgram(command: string, args: readonly string[], options: RunOptions): Promise<Ending> {
  // A package manager that started the tests may have set it: programs would find modules that are not theirs.
  const { NODE_PATH: _, ...env } = options.env ?? process.env
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      cwd: options.cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code: code ?? signal ?? -1, output }))
  })
}
