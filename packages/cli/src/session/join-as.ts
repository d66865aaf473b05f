/** A place in the mesh for the account of `--as`. */
import { isAmbientError } from '@ambient/core'
import type { JoinedWorkload, JoinRequest, MeshClient } from '@ambient/mesh'
import { CliError } from '../errors.ts'

/**
 * As the mesh's own `join`, but an account that cannot be is an error of the option that named it.
 * @throws CliError `AMBIENT_E_CLI_NOT_FOUND`; MeshError
 */
export async function joinAs(mesh: MeshClient, request: JoinRequest): Promise<JoinedWorkload> {
  try {
    return await mesh.join(request)
  } catch (cause) {
    if (!isAmbientError(cause) || cause.code !== 'AMBIENT_E_MESH_NOT_FOUND') throw cause
    const account = `${request.namespace}/${request.serviceAccount}`
    throw new CliError('AMBIENT_E_CLI_NOT_FOUND', `--as ${account}: ${cause.message}`, { cause })
  }
}
