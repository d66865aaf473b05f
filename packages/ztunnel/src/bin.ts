#!/usr/bin/env node
/** `ambient-ztunnel`: the ztunnel as a program. */
import { runProxyProgram } from '@ambient/core/proxy'
import { configFromEnvironment } from './config/environment.ts'
import { packageVersion } from './config/version.ts'
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

runProxyProgram(
  {
    name: 'ambient-ztunnel',
    help: HELP,
    version: packageVersion,
    create: ({ environment, read, ...more }) =>
      createZtunnel({ config: configFromEnvironment(environment, { read }), ...more }),
  },
  process,
)
