#!/usr/bin/env node
/** The `ambient` command. */
import pc from 'picocolors'
import { runCli } from './run.ts'
import type { CliHost } from './host.ts'

const host: CliHost = {
  environment: process.env,
  nodeVersion: process.versions.node,
  // Warnings go to stderr; a pipe, also one of CI, gets plain text.
  colors: pc.isColorSupported && process.stderr.isTTY === true,
  interactive: process.stdin.isTTY === true,
  get input() {
    return process.stdin
  },
  output: process.stdout,
  stdout: text => void process.stdout.write(text),
  stderr: text => void process.stderr.write(text),
  onInterrupt: listener => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    for (const signal of signals) process.on(signal, listener)
    return () => {
      for (const signal of signals) process.off(signal, listener)
    }
  },
}

// A reader that has gone (`ambient … | head`) is no failure of ours; what runs until it is ended, ends.
process.stdout.on('error', error => {
  if (!('code' in error && error.code === 'EPIPE')) throw error
  if (!process.emit('SIGTERM', 'SIGTERM')) process.exit()
})

void runCli(process.argv.slice(2), host).then(code => {
  process.exitCode = code
})
