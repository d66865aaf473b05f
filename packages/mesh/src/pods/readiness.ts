/** Asks a container whether it is ready, as a kubelet does: from outside of the mesh, straight at the pod's address. */
import { get } from 'node:http'
import type { Clock, Timer } from '@ambient/core'
import { dial } from '@ambient/core/node'
import { meshDefaults } from '../defaults.ts'
import type { ReadinessPlan } from './plan.ts'

export interface ReadinessProbe {
  stop(): void
}

export interface ReadinessOptions {
  readonly plan: ReadinessPlan
  readonly address: string
  readonly clock: Clock
  readonly onChange: (ready: boolean) => void
}

/** Asks until stopped: often until the first success, then once per period. */
export function startReadinessProbe(options: ReadinessOptions): ReadinessProbe {
  const { plan, clock } = options
  const stopped = new AbortController()
  let ready = false
  let failures = 0
  let timer: Timer | undefined
  const round = async (): Promise<void> => {
    const answer = await ask(options, stopped.signal)
    if (stopped.signal.aborted) return
    failures = answer ? 0 : failures + 1
    const next = answer || (ready && failures < plan.failureThreshold)
    if (next !== ready) {
      ready = next
      options.onChange(ready)
    }
    timer = clock.after(ready ? plan.periodMs : meshDefaults.pollMs, () => void round())
  }
  timer = clock.after(plan.initialDelayMs, () => void round())
  return {
    stop() {
      timer?.cancel()
      stopped.abort(new Error('the probe is stopped'))
    },
  }
}

/** Never rejects: every failure is "not ready". */
async function ask(options: ReadinessOptions, stopped: AbortSignal): Promise<boolean> {
  const { plan, address } = options
  const signal = AbortSignal.any([stopped, AbortSignal.timeout(plan.timeoutMs)])
  try {
    if (plan.ask.kind === 'http') return await askHttp(address, plan.ask.port, plan.ask.path, signal)
    const socket = await dial({ host: address, port: plan.ask.port, signal })
    socket.on('error', () => {})
    socket.destroy()
    return true
  } catch {
    return false
  }
}

/** Any status from 200 to 399 is a yes, as in Kubernetes. */
function askHttp(host: string, port: number, path: string, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const request = get({ host, port, path, agent: false, signal }, response => {
      response.resume()
      const status = response.statusCode ?? 0
      resolve(status >= 200 && status < 400)
    })
    request.on('error', reject)
  })
}
