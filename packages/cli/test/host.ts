/** A command line without a process: what it prints, and its exit code. */
import { PassThrough } from 'node:stream'
import { runCli } from '../src/index.ts'
import type { CliHost } from '../src/host.ts'

export interface TestHost {
  readonly out: () => string
  readonly err: () => string
  readonly host: CliHost
}

export function testHost(): TestHost {
  let [out, err] = ['', '']
  return {
    out: () => out,
    err: () => err,
    host: {
      environment: { PATH: '/usr/bin:/bin' },
      nodeVersion: '24.0.0',
      colors: false,
      interactive: false,
      input: new PassThrough(),
      output: new PassThrough(),
      stdout: text => {
        out += text
      },
      stderr: text => {
        err += text
      },
      onInterrupt: () => () => {},
    },
  }
}

export async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const given = testHost()
  const code = await runCli(args, given.host)
  return { code, out: given.out(), err: given.err() }
}
