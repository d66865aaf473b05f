/** The grpc-js that is installed, or what to install instead. */
import { createRequire } from 'node:module'
import type * as grpc from '@grpc/grpc-js'
import { HboneError } from '../errors.ts'

export type Grpc = typeof grpc

const TESTED = /^1\.14\./
const ADVICE = 'npm install @grpc/grpc-js@~1.14.0'

type Require = (id: string) => unknown

/**
 * What connects a channel to a tunnel is not in grpc-js's promised surface, so only the minor that the tests run with is taken.
 * @throws HboneError `AMBIENT_E_HBONE_DEPENDENCY`: not installed, another minor, or it lacks what is needed.
 */
export function loadGrpc(require: Require = createRequire(import.meta.url)): Grpc {
  const version = versionOf(require)
  if (!TESTED.test(version)) throw unfit(`grpc-js ${version} is installed, 1.14 is known to work: ${ADVICE}`)
  const module = require('@grpc/grpc-js')
  const missing = missingIn(module)
  if (missing.length > 0) throw unfit(`grpc-js ${version} lacks ${missing.join(', ')}: ${ADVICE}`)
  // The check above is what the type says, as far as it is used.
  return module as Grpc
}

/** What is used of it, by path; `_` marks what grpc-js does not promise. */
const NEEDED = [
  'ChannelCredentials.prototype.compose',
  'ServerCredentials.createInsecure',
  'ServerInterceptingCall.prototype.getAuthContext',
  'Server.prototype.createConnectionInjector',
  'CallCredentials.createEmpty',
  'Metadata',
  'experimental.createServerCredentialsWithInterceptors',
  'experimental.registerResolver',
]

function missingIn(module: unknown): readonly string[] {
  return NEEDED.filter(path => {
    let at: unknown = module
    for (const key of path.split('.'))
      at =
        (typeof at === 'object' && at !== null) || typeof at === 'function' ? Reflect.get(at, key) : undefined
    return typeof at !== 'function'
  })
}

function versionOf(require: Require): string {
  try {
    const manifest = require('@grpc/grpc-js/package.json')
    return String(typeof manifest === 'object' && manifest !== null && Reflect.get(manifest, 'version'))
  } catch (cause) {
    throw unfit(`@grpc/grpc-js is not installed: ${ADVICE}`, cause)
  }
}

function unfit(message: string, cause?: unknown): HboneError {
  return new HboneError('AMBIENT_E_HBONE_DEPENDENCY', message, { cause, layer: 'config' })
}
