/** The control socket's protocol: HTTP/1.1 with JSON over a Unix socket, one resource each. */

export const paths = Object.freeze({
  /** GET: {@link MeshGreeting}. */
  mesh: '/v1/mesh',
  /** GET: a `MeshStatus`. */
  status: '/v1/status',
  /** POST: answered when every proxy has acknowledged what was last published. */
  synced: '/v1/synced',
  /** POST a `JoinRequest`: a first line of JSON, then the answer stays open; the place is given back when it closes. */
  join: '/v1/join',
})

export interface MeshGreeting {
  readonly folder: string
  readonly cidr: string
  readonly pid: number
}

/** With a status from 400. */
export interface ControlFailure {
  readonly code: string
  readonly message: string
}

/** A request is small: names and ports. */
export const MAX_REQUEST_BYTES = 65_536
