/** Waits until waypoints of the running mesh are programmed. */
import { systemClock } from '@ambient/core'
import type { CliHost } from '../host.ts'
import type { MeshClient, WaypointStatus } from '@ambient/mesh'
import { withMesh } from '../session/target.ts'

const LOOK_EVERY_MS = 100

export interface ReadyOptions {
  readonly mesh?: string
  /** Milliseconds. */
  readonly waypointTimeout: number
}

/** False when it is not ready in time; the reason was told. */
export async function waitUntilReady(
  waypoint: { readonly namespace: string; readonly name: string },
  options: ReadyOptions,
  host: CliHost,
): Promise<boolean> {
  return withMesh(options.mesh, async mesh => {
    const isIt = ({ namespace, name }: WaypointStatus): boolean =>
      namespace === waypoint.namespace && name === waypoint.name
    const [last] = await programmed(mesh, isIt, options.waypointTimeout)
    if (last?.programmed === true) return true
    const why = last === undefined ? 'the mesh does not know it' : `${last.reason}: ${last.message}`
    host.stderr(`error: waypoint ${waypoint.namespace}/${waypoint.name} is not ready: ${why}\n`)
    return false
  })
}

/** The waypoints that are asked for, as soon as there are some and all of them are programmed, or when the time is up. */
export async function programmed(
  mesh: MeshClient,
  isAskedFor: (waypoint: WaypointStatus) => boolean,
  timeoutMs: number,
): Promise<readonly WaypointStatus[]> {
  const deadline = systemClock.now() + timeoutMs
  for (;;) {
    const waypoints = (await mesh.status()).waypoints.filter(isAskedFor)
    const isReady = waypoints.length > 0 && waypoints.every(waypoint => waypoint.programmed)
    if (isReady || systemClock.now() >= deadline) return waypoints
    await new Promise<void>(resolve => systemClock.after(LOOK_EVERY_MS, resolve, { keepAlive: true }))
  }
}
