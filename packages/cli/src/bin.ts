#!/usr/bin/env node
/** The `ambient` command. */
import { setFlagsFromString } from 'node:v8'
import pc from 'picocolors'
import { guardOutput } from './guard-output.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from './host.ts'
import { runCli } from './run.ts'

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
  // Looked at whenever V8 would grow it, so it may be said after the start. Node 20 to 26 know it; others would say that they do not.
  carriesConnections: () => setFlagsFromString('--semi-space-growth-factor=1'),
  onInterrupt: listener => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    for (const signal of signals) process.on(signal, listener)
    return () => {
      for (const signal of signals) process.off(signal, listener)
    }
  },
}

guardOutput(process.stdout, {
  // What runs until it is ended, ends.
  gone() {
    if (!process.emit('SIGTERM', 'SIGTERM')) process.exit(EXIT_OK)
  },
  failed(error) {
    host.stderr(`error: standard output: ${error.message}\n`)
    process.exit(EXIT_FAILED)
  },
})

// A command with nothing left to wait for, and no answer, has not succeeded.
process.exitCode = EXIT_FAILED
void runCli(process.argv.slice(2), host).then(code => {
  process.exitCode = code
})
