/** How keys of issuers are fetched, from the environment; the name of the blocks is istiod's. */
import { CoreError, parseCidr } from '@ambient/core'
import { boolean, type ConfigFiles, type Environment, invalid, text } from '@ambient/core/proxy'

/** As `createJwksSource` of `@ambient/policy/node` takes it. */
export interface JwksConfig {
  readonly allowHttp: boolean
  /** Beside loopback, link-local and metadata services, which always are. */
  readonly blockedCidrs: readonly string[]
  readonly allowedCidrs: readonly string[]
  /** PEM, in place of the system's authorities. */
  readonly ca?: string
}

/** @throws CoreError `AMBIENT_E_CONFIG` */
export function jwksFromEnvironment(env: Environment, files: ConfigFiles): JwksConfig {
  const ca = readCa(env, files)
  return Object.freeze({
    allowHttp: boolean(env, 'JWKS_ALLOW_HTTP', false),
    blockedCidrs: readCidrs(env, 'BLOCKED_CIDRS_IN_JWKS_URIS'),
    allowedCidrs: readCidrs(env, 'ALLOWED_CIDRS_IN_JWKS_URIS'),
    ...(ca === undefined ? {} : { ca }),
  })
}

function readCidrs(env: Environment, name: string): readonly string[] {
  const written = text(env, name) ?? ''
  const blocks = written.split(',').flatMap(part => (part.trim() === '' ? [] : [part.trim()]))
  try {
    blocks.forEach(parseCidr)
  } catch (error) {
    if (!(error instanceof CoreError)) throw error
    return invalid(name, written, error.message)
  }
  return Object.freeze(blocks)
}

/** A path, or the PEM itself. */
function readCa(env: Environment, files: ConfigFiles): string | undefined {
  const written = text(env, 'JWKS_CA_CERT')
  if (written === undefined || written.includes('-----BEGIN')) return written
  return files.read(written) ?? invalid('JWKS_CA_CERT', written, 'there is no such file')
}
