#!/usr/bin/env node
/** `ambient-waypoint`: reads argv and the environment, runs until a signal, drains, exits. */
import { readFileSync } from 'node:fs'
import { isAmbientError, messageOf } from '@ambient/core'
import { followSupervisor } from '@ambient/core/node'
import { configFromEnvironment } from './config/environment.ts'
import { packageVersion } from './config/version.ts'
import { createWaypoint, type Waypoint } from './waypoint.ts'

const HELP = `ambient-waypoint: the L7 proxy of an ambient mesh

usage: ambient-waypoint [proxy|version|help]

  proxy     runs the proxy (the default); everything is configured by environment variables
  version   prints the version
  help      prints this

example:
  POD_NAMESPACE=shop GATEWAY_NAME=waypoint INSTANCE_IP=10.0.0.9 \\
  XDS_ADDRESS=https://istiod.istio-system.svc:15012 CA_ADDRESS=https://istiod.istio-system.svc:15012 ambient-waypoint
`
/** Releases of this line get no security fixes any more. */
const LAST_UNSUPPORTED_MAJOR = 20

async function main(command: string | undefined): Promise<number> {
  switch (command) {
    case undefined:
    case 'proxy':
      return proxy()
    case 'version':
      process.stdout.write(`ambient-waypoint ${packageVersion()} (node ${process.versions.node})\n`)
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
  // Whoever reads the log may leave first.
  process.stdout.on('error', () => {})
  const supervisor = process.env['LISTEN_HANDLES'] === 'ipc' ? followSupervisor(process) : undefined
  let waypoint: Waypoint
  try {
    waypoint = createWaypoint({
      config: configFromEnvironment(process.env, { read: readIfPresent }),
      write: text => void process.stdout.write(text),
      ...(supervisor === undefined ? {} : { bind: supervisor.bind }),
    })
  } catch (error) {
    return failed(error)
  }
  warnOfOldNode()
  supervisor?.onDrain(options => void waypoint.close(options))
  let interrupted = false
  process.on('SIGTERM', () => void waypoint.close())
  process.on('SIGINT', () => {
    if (interrupted) process.exit(0)
    interrupted = true
    void waypoint.close()
  })
  let code = 0
  waypoint.ready.then(
    () => supervisor?.ready(),
    error => {
      if (!isAmbientError(error) || error.code !== 'AMBIENT_E_CLOSED') code = failed(error)
    },
  )
  try {
    await waypoint.start()
  } catch (error) {
    return failed(error)
  }
  await waypoint.closed
  return code
}

function failed(error: unknown): 1 {
  process.stderr.write(`ambient-waypoint: ${messageOf(error)}\n`)
  return 1
}

function warnOfOldNode(): void {
  if (Number(process.versions.node.split('.')[0]) <= LAST_UNSUPPORTED_MAJOR)
    process.stderr.write(
      `ambient-waypoint: Node ${process.versions.node} is past its end of life and gets no security fixes; use 22, 24 or newer\n`,
    )
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
      `ambient-waypoint: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
    )
    process.exit(1)
  },
)
