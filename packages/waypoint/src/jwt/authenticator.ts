/**
 * Tokens of requests, between CUSTOM and RBAC (l7 §1.4): the rules that attach to the target are asked, and what passes
 * goes on as they leave it. One authenticator per target, made anew when the documents change; keys outlive that.
 */
import {
  attachedJwtRules,
  createJwtAuthenticator as createTargetAuthenticator,
  type HttpRequestFacts,
  type JwksSource,
  type JwtAuthenticator as TargetAuthenticator,
  type JwtEdits,
  type JwtOutcome,
  type WaypointTarget,
} from '@ambient/policy'
import type { ConfigStore } from '@ambient/discovery'
import type { Clock } from '@ambient/core'
import type { WaypointConfig } from '../config/config.ts'
import { defaults } from '../defaults.ts'
import { findGateway } from '../gateway.ts'
import { HeaderFields } from '../http/header-fields.ts'
import type { LocalReply } from '../http/local-reply.ts'
import type { RequestHead } from '../http/message.ts'
import type { InboundStream } from '../stream.ts'

export type JwtStep =
  | {
      readonly kind: 'passed'
      /** The request from here on: outputs in its headers, the token gone. The same object when nothing changed. */
      readonly head: RequestHead
      /** Of the verified token. */
      readonly jwt?: NonNullable<HttpRequestFacts['jwt']>
    }
  | { readonly kind: 'refused'; readonly reply: LocalReply }

export interface JwtAuthenticator {
  /** A promise only where a token has to be verified. Never rejects, never throws. */
  authenticate(stream: InboundStream, head: RequestHead): JwtStep | Promise<JwtStep>
  /** A path and query as the ledger may show it: without what could be a token. */
  shownPath(stream: InboundStream, path: string): string
  close(): void
}

export interface JwtAuthenticatorOptions {
  readonly config: Pick<WaypointConfig, 'gateway' | 'rootNamespace'>
  readonly store: ConfigStore
  /** Keys that are not in the rules themselves. The caller closes it. */
  readonly jwks: JwksSource
  readonly clock: Clock
}

export function createJwtAuthenticator(options: JwtAuthenticatorOptions): JwtAuthenticator {
  return new LiveJwtAuthenticator(options)
}

class LiveJwtAuthenticator implements JwtAuthenticator {
  readonly #options: JwtAuthenticatorOptions
  readonly #unwatch: () => void
  /** By service; empty for a workload. */
  readonly #targets = new Map<string, TargetAuthenticator>()
  #source: ConfigStore['requestAuthentications']
  #className: string

  constructor(options: JwtAuthenticatorOptions) {
    this.#options = options
    this.#source = options.store.requestAuthentications
    this.#className = this.#findClass()
    this.#unwatch = options.store.watch(() => this.#follow())
  }

  authenticate(stream: InboundStream, head: RequestHead): JwtStep | Promise<JwtStep> {
    if (this.#source.length === 0) return { kind: 'passed', head }
    const { headers, method, scheme, authority, path } = head
    const outcome = this.#authenticatorOf(stream).authenticate({
      method,
      scheme,
      authority,
      path,
      header: name => headers.all(name),
    })
    return outcome instanceof Promise ? outcome.then(found => stepOf(found, head)) : stepOf(outcome, head)
  }

  shownPath(stream: InboundStream, path: string): string {
    if (this.#source.length === 0 || !path.includes('?')) return path
    return this.#authenticatorOf(stream).shownPath(path)
  }

  close(): void {
    this.#unwatch()
    this.#targets.clear()
  }

  #follow(): void {
    const { requestAuthentications } = this.#options.store
    const className = this.#findClass()
    if (requestAuthentications === this.#source && className === this.#className) return
    this.#source = requestAuthentications
    this.#className = className
    this.#targets.clear()
  }

  #findClass(): string {
    const { store, config } = this.#options
    return findGateway(store, config.gateway)?.spec.className ?? defaults.gatewayClass
  }

  #authenticatorOf({ target }: InboundStream): TargetAuthenticator {
    const service = target.kind === 'service' ? target.service : undefined
    const key = service === undefined ? '' : `${service.namespace}/${service.hostname}`
    const known = this.#targets.get(key)
    if (known !== undefined) return known
    const { config, jwks, clock } = this.#options
    const attachedTo: WaypointTarget = {
      gateway: { ...config.gateway, className: this.#className },
      ...(service === undefined
        ? {}
        : { service: { namespace: service.namespace, name: service.name, hostname: service.hostname } }),
    }
    const rules = attachedJwtRules(this.#source, attachedTo, config)
    const authenticator = createTargetAuthenticator(rules, { jwks, now: () => clock.now() })
    this.#targets.set(key, authenticator)
    return authenticator
  }
}

function stepOf(outcome: JwtOutcome, head: RequestHead): JwtStep {
  if (outcome.kind === 'refused') {
    const { status, body, headers, detail } = outcome
    return { kind: 'refused', reply: { status, body, detail, flags: [], headers: new HeaderFields(headers) } }
  }
  const edited = edit(head, outcome.edits)
  return outcome.jwt === undefined
    ? { kind: 'passed', head: edited }
    : { kind: 'passed', head: edited, jwt: outcome.jwt }
}

function edit(head: RequestHead, { removeHeaders, setHeaders, path }: JwtEdits): RequestHead {
  if (removeHeaders.length === 0 && setHeaders.length === 0 && path === undefined) return head
  const headers = head.headers.copy()
  for (const name of removeHeaders) headers.delete(name)
  for (const [name, value] of setHeaders) headers.set(name, value)
  return { ...head, headers, path: path ?? head.path }
}
