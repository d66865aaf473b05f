/** `fetch` through tunnels, with the installed undici from end to end. */
import type { Agent } from 'undici'
import { createAgent, type HboneDispatcherOptions } from './dispatcher.ts'
import { loadUndici, readModule, type Undici } from './load.ts'

/** The global `fetch`'s type, so that it fits where an API takes one. */
export type HboneFetch = typeof globalThis.fetch & {
  /** Beneath it; for `fetch`'s siblings of undici. */
  readonly dispatcher: Agent
  /** Lets requests finish and closes the connections. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * `fetch` as the installed undici has it, with every request through tunnels. The global `Request` and `FormData` are taken
 * too; responses are undici's, not `instanceof` the global `Response`. A tunnel that cannot be opened is the `cause` (an
 * `HboneError`) of the `TypeError`.
 * @throws HboneError as {@link createHboneDispatcher}.
 */
export function createHboneFetch(options: HboneDispatcherOptions): HboneFetch {
  const { undici: given, ...rest } = options
  const undici = given === undefined ? loadUndici() : readModule(given)
  const dispatcher = createAgent(undici, rest)
  const bound = (input: unknown, init: object = {}): Promise<unknown> =>
    Reflect.apply(undici.fetch, undefined, [
      ownInput(undici, input),
      { ...ownInit(undici, init), dispatcher },
    ])
  const close = (): Promise<void> => dispatcher.close()
  const fetch = Object.assign(bound, { dispatcher, close, [Symbol.asyncDispose]: close })
  // undici's types and the platform's describe the same standard, each with classes of its own.
  return fetch as unknown as HboneFetch
}

/** Another undici's `Request` would be read as a URL. */
function ownInput(undici: Undici, input: unknown): unknown {
  if (!(input instanceof globalThis.Request) || input instanceof undici.Request) return input
  const { method, body, redirect, signal, integrity, keepalive, referrerPolicy } = input
  const headers = [...input.headers]
  const init = {
    method,
    headers,
    body,
    duplex: 'half',
    redirect,
    signal,
    integrity,
    keepalive,
    referrerPolicy,
  }
  return Reflect.construct(undici.Request, [input.url, init])
}

/** Another undici's `FormData` would be sent as the text `[object FormData]`. */
function ownInit(undici: Undici, init: object): object {
  const body: unknown = Reflect.get(init, 'body')
  if (!(body instanceof globalThis.FormData) || body instanceof undici.FormData) return init
  const form = new undici.FormData()
  for (const [name, value] of body)
    if (typeof value === 'string') form.append(name, value)
    else form.append(name, value, value.name)
  return { ...init, body: form }
}
