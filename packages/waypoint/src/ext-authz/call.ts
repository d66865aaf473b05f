/** One exchange with a provider over the dispatch desk: a body up to a bound each way, and one time limit for all of it. */
import { Readable } from 'node:stream'
import type { AppProtocol, Clock } from '@ambient/core'
import { HeaderFields } from '../http/header-fields.ts'
import type { RequestHead } from '../http/message.ts'
import { extAuthzLimits } from '../limits.ts'
import type { ClusterRef } from '../route/ir.ts'
import { noRetry } from '../route/retry.ts'
import type { Caller } from '../stream.ts'
import type { Dispatcher } from '../upstream/dispatch.ts'
import { UnreadableAnswer } from './check.ts'

export interface ProviderCall {
  readonly cluster: ClusterRef
  readonly head: RequestHead
  readonly body: Buffer | undefined
  readonly protocol: AppProtocol | undefined
  readonly timeoutMs: number
  /** On whose behalf: counted as theirs. */
  readonly caller: Caller
  /** Ends the call: nobody waits for the answer any more. */
  readonly signal: AbortSignal
}

export interface ProviderAnswer {
  readonly status: number
  readonly headers: HeaderFields
  readonly trailers: HeaderFields
  readonly body: Buffer
}

/** @throws UnreadableAnswer with the reason why there is no whole answer */
export async function callProvider(
  desk: Pick<Dispatcher, 'dispatch'>,
  clock: Clock,
  call: ProviderCall,
): Promise<ProviderAnswer> {
  const controller = new AbortController()
  let isLate = false
  const end = (): void => controller.abort(new Error('the check is over'))
  // The desk's own limit begins with the request's last byte, which a provider may never take.
  const timer = clock.after(call.timeoutMs, () => {
    isLate = true
    end()
  })
  call.signal.addEventListener('abort', end)
  if (call.signal.aborted) end()
  try {
    return await exchange(desk, call, controller.signal)
  } catch (error) {
    if (isLate) throw new UnreadableAnswer(`no answer within ${call.timeoutMs} ms`, { cause: error })
    throw error
  } finally {
    timer.cancel()
    call.signal.removeEventListener('abort', end)
    // What is left of an answer that was too long.
    end()
  }
}

async function exchange(
  desk: Pick<Dispatcher, 'dispatch'>,
  { cluster, head, body, protocol, caller }: ProviderCall,
  signal: AbortSignal,
): Promise<ProviderAnswer> {
  const result = await desk.dispatch({
    cluster,
    request: {
      ...head,
      protocol: 'HTTP/1.1',
      body:
        body === undefined || body.length === 0 ? undefined : Readable.from([body], { objectMode: false }),
      trailers: () => undefined,
      upgrade: undefined,
      signal,
    },
    retry: noRetry,
    mirrors: [],
    protocol,
    caller,
  })
  if (result.kind === 'failed') throw new UnreadableAnswer(result.reason || result.detail)
  const { response } = result
  if (response.upgraded !== undefined) {
    response.upgraded.destroy()
    throw new UnreadableAnswer('the provider switched protocols')
  }
  const bytes = response.body === undefined ? Buffer.alloc(0) : await readAll(response.body)
  const { status, headers } = response
  return { status, headers, trailers: response.trailers() ?? new HeaderFields(), body: bytes }
}

async function readAll(body: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    const bytes = Buffer.from(chunk)
    length += bytes.length
    if (length > extAuthzLimits.answerBytes)
      throw new UnreadableAnswer(`an answer of more than ${extAuthzLimits.answerBytes} bytes`)
    chunks.push(bytes)
  }
  return Buffer.concat(chunks)
}
