#!/usr/bin/env node
/** `ambient-ztunnel`: reads argv and the environment, runs until a signal, drains, exits. */
import { readFileSync } from 'node:fs'
import { messageOf } from '@ambient/core'
import { followSupervisor } from '@ambient/core/node'
import { configFromEnvironment } from './config/environment.ts'
import { packageVersion } from './config/version.ts'
import type { ZtunnelConfig } from './config/config.ts'
import { createZtunnel } from './ztunnel.ts'

const HELP = `ambient-ztunnel: the L4 node proxy of an ambient mesh

usage: ambient-ztunnel [proxy|version|help]

  proxy     runs the proxy (the default); everything is configured by ztunnel's environment variables
  version   prints the version
  help      prints this

example:
  PROXY_MODE=dedicated PROXY_WORKLOAD_INFO=default/client/default \\
  XDS_ADDRESS= LOCAL_XDS_PATH=./mesh.yaml FAKE_CA=true UNSTABLE_ENABLE_SOCKS5=true ambient-ztunnel
`
/** Releases of this line get no security fixes any more. */
const LAST_UNSUPPORTED_MAJOR = 20

async function main(command: string | undefined): Promise<number> {
  switch (command) {
    case undefined:
    case 'proxy':
      return proxy()
    case 'version':
      process.stdout.write(`ambient-ztunnel ${packageVersion()} (node ${process.versions.node})\n`)
      return 0
    case 'help':
    case '--help':
    case '-h':
      process.stdout.write(HELP)
      return 0
    default:
      process.stderr.write(HELP)
      return 1
  }
}

async function proxy(): Promise<number> {
  let config: ZtunnelConfig
  try {
    config = configFromEnvironment(process.env, { read: readIfPresent })
  } catch (error) {
    process.stderr.write(`ambient-ztunnel: ${messageOf(error)}\n`)
    return 1
  }
  if (Number(process.versions.node.split('.')[0]) <= LAST_UNSUPPORTED_MAJOR)
    process.stderr.write(
      `ambient-ztunnel: Node ${process.versions.node} is past its end of life and gets no security fixes; use 22, 24 or newer\n`,
    )
  // Whoever reads the log may leave first.
  process.stdout.on('error', () => {})
  const supervisor = process.env['LISTEN_HANDLES'] === 'ipc' ? followSupervisor(process) : undefined
  const ztunnel = createZtunnel({
    config,
    write: text => void process.stdout.write(text),
    ...(supervisor === undefined ? {} : { bind: supervisor.bind }),
  })
  supervisor?.onDrain(options => void ztunnel.close(options))
  ztunnel.ready.then(() => supervisor?.ready()).catch(() => {})
  let interrupted = false
  process.on('SIGTERM', () => void ztunnel.close())
  process.on('SIGINT', () => {
    if (interrupted) process.exit(0)
    interrupted = true
    void ztunnel.close()
  })
  try {
    await ztunnel.start()
  } catch (error) {
    process.stderr.write(`ambient-ztunnel: ${messageOf(error)}\n`)
    return 1
  }
  await ztunnel.closed
  return 0
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

void main(process.argv[2]).then(
  code => process.exit(code),
  error => {
    process.stderr.write(
      `ambient-ztunnel: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
    )
    process.exit(1)
  },
)
