/** What start-up still waits for, and the readiness endpoint on 15021 that says it. */
import { type HttpHandler, text } from './http.ts'

export interface Readiness {
  readonly pending: readonly string[]
  /** Registers a task; call the result when it is done. */
  task(name: string): () => void
}

export function createReadiness(): Readiness {
  const tasks = new Set<string>()
  return {
    get pending() {
      return [...tasks].sort()
    },
    task(name) {
      tasks.add(name)
      return () => void tasks.delete(name)
    },
  }
}

export function readinessHandler(readiness: Readiness): HttpHandler {
  return request => {
    if (request.path !== '/healthz/ready') return text(404, 'not found\n')
    if (request.method !== 'GET') return text(405, 'method not allowed\n')
    const { pending } = readiness
    return pending.length === 0
      ? text(200, 'ready\n')
      : text(500, `not ready, pending: ${pending.join(', ')}\n`)
  }
}
