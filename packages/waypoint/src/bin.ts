#!/usr/bin/env node
/** `ambient-waypoint`: the waypoint as a program. */
import { runProxyProgram } from '@ambient/core/proxy'
import { configFromEnvironment } from './config/environment.ts'
import { packageVersion } from './config/version.ts'
import { createWaypoint } from './waypoint.ts'

const HELP = `ambient-waypoint: the L7 proxy of an ambient mesh

usage: ambient-waypoint [proxy|version|help]

  proxy     runs the proxy (the default); everything is configured by environment variables
  version   prints the version
  help      prints this

example:
  POD_NAMESPACE=shop GATEWAY_NAME=waypoint INSTANCE_IP=10.0.0.9 \\
  XDS_ADDRESS=https://istiod.istio-system.svc:15012 CA_ADDRESS=https://istiod.istio-system.svc:15012 ambient-waypoint
`

runProxyProgram(
  {
    name: 'ambient-waypoint',
    help: HELP,
    version: packageVersion,
    create: ({ environment, read, ...more }) =>
      createWaypoint({ config: configFromEnvironment(environment, { read }), ...more }),
  },
  process,
)
