/** The undici that is installed, or what to install instead. */
import { createRequire } from 'node:module'
import { HboneError } from '../errors.ts'
import type * as undici from 'undici'

/** What is used of it. */
export type Undici = Pick<typeof undici, 'Agent' | 'buildConnector' | 'fetch' | 'FormData' | 'Request'>

const TESTED = '6.21 or later, 7 and 8'
/** Its dispatchers are taken by the `fetch` of Node 20, 22, 24 and 26. */
const ADVICE = 'npm install undici@7'

type Require = (id: string) => unknown

/**
 * @throws HboneError `AMBIENT_E_HBONE_DEPENDENCY`: not installed, a version that is not known to work, or one that does not run
 *   on this Node.
 */
export function loadUndici(require: Require = createRequire(import.meta.url)): Undici {
  const version = readVersion(require)
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < 6 || (major === 6 && minor < 21) || major > 8)
    throw unfit(`undici ${version} is installed, ${TESTED} are known to work: ${ADVICE}`)
  try {
    return readModule(require('undici'))
  } catch (cause) {
    throw unfit(`undici ${version} does not run on Node ${process.versions.node}: ${ADVICE}`, cause)
  }
}

/** @throws HboneError `AMBIENT_E_HBONE_DEPENDENCY` when it is not the module of undici. */
export function readModule(module: unknown): Undici {
  const names = ['Agent', 'buildConnector', 'fetch', 'FormData', 'Request']
  const isUndici =
    typeof module === 'object' &&
    module !== null &&
    names.every(name => typeof Reflect.get(module, name) === 'function')
  if (!isUndici) throw unfit(`this is not the module of undici: it lacks one of ${names.join(', ')}`)
  // The types of its majors differ; what is used has kept its shape, which the tests run with all three.
  return module as unknown as Undici
}

/** The handlers of majors 6 and 8 are unknown to one another; a `fetch` brings those of its own undici. */
export function strangeHandler(cause: Error): HboneError {
  return unfit(
    `this dispatcher's undici does not take requests of another undici (${cause.message}). The fetch of Node ` +
      `${process.versions.node} is undici ${process.versions['undici'] ?? 'unknown'}'s: use createHboneFetch(), ` +
      `or an undici whose dispatchers every fetch takes: ${ADVICE}`,
    cause,
  )
}

function readVersion(require: Require): string {
  try {
    const manifest = require('undici/package.json')
    const version: unknown =
      typeof manifest === 'object' && manifest !== null && Reflect.get(manifest, 'version')
    return String(version)
  } catch (cause) {
    throw unfit(`undici is not installed: ${ADVICE}`, cause)
  }
}

function unfit(message: string, cause?: unknown): HboneError {
  return new HboneError('AMBIENT_E_HBONE_DEPENDENCY', message, { cause, layer: 'config' })
}
