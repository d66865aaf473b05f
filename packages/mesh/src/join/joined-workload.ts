/** A workload that is not one of the manifests' programs, as an object: connections and requests in its name. */
import { Agent, type ClientRequestArgs } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { JoinFacts } from '../control/types.ts'
import { socksConnect } from './socks-client.ts'

export interface JoinedWorkload extends JoinFacts {
  /**
   * Connects to a Service (`reviews.bookinfo`), a pod's address or anything else, as this workload. The caller owns the
   * socket; it is half-open.
   * @throws MeshError `AMBIENT_E_MESH_CONNECT`
   */
  connect(host: string, port: number, signal?: AbortSignal): Promise<Socket>
  /** For `http.request`, as this workload; its idle connections end with the workload. */
  agent(): Agent
  /** Gives the place back; its connections end. Idempotent. */
  leave(): Promise<void>
}

/** @param leave called once. */
export function createJoinedWorkload(facts: JoinFacts, leave: () => Promise<void>): JoinedWorkload {
  const agents = new Set<Agent>()
  const sockets = new Set<Socket>()
  let left: Promise<void> | undefined
  const connect = async (host: string, port: number, signal?: AbortSignal): Promise<Socket> => {
    const socket = await socksConnect(facts.socks, {
      host,
      port,
      ...(signal === undefined ? {} : { signal }),
    })
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    return socket
  }
  return {
    ...facts,
    connect,
    agent() {
      const agent = new MeshAgent(connect)
      agents.add(agent)
      return agent
    },
    leave() {
      left ??= (async () => {
        for (const agent of agents) agent.destroy()
        for (const socket of sockets) socket.destroy()
        await leave()
      })()
      return left
    },
  }
}

class MeshAgent extends Agent {
  readonly #connect: JoinedWorkload['connect']

  constructor(connect: JoinedWorkload['connect']) {
    super({ keepAlive: true })
    this.#connect = connect
  }

  override createConnection(
    options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    // Node's type has no error without a stream; the stream is not looked at then.
    const fail = callback as ((error: unknown) => void) | undefined
    this.#connect(options.host ?? 'localhost', Number(options.port ?? 80)).then(
      socket => callback?.(null, socket),
      error => fail?.(error),
    )
    return undefined
  }
}
