/** Service account tokens as Kubernetes projects them, believed by the keys of the cluster's issuer. */
import { type Clock, type SpiffeId, workloadSpiffeId } from '@ambient/core'
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose'
import { callerLimits } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { Caller } from './callers.ts'

export interface ProjectedTokens {
  /** The issuer's JWKS document, parsed, as it is now. Asked for each token; the same object is read once. */
  readonly jwks: () => unknown
  /** `iss`, exactly. */
  readonly issuer: string
  /** One of these has to be in `aud`; istiod's is `istio-ca`. */
  readonly audience: string | readonly string[]
  /** `namespace/service-account` of whoever may ask for the workloads of its node. Default `istio-system/ztunnel`. */
  readonly nodeAccounts?: readonly string[]
}

/** Asymmetric ones only: with a public key as secret anybody could sign. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
const NODE_ACCOUNTS = ['istio-system/ztunnel']
const SUBJECT = /^system:serviceaccount:([a-z0-9][a-z0-9.-]{0,252}):([a-z0-9][a-z0-9.-]{0,252})$/

/** Rejects with what is wrong with a token, never with the token. */
export function projectedTokenReader(
  { jwks, issuer, audience, nodeAccounts = NODE_ACCOUNTS }: ProjectedTokens,
  trustDomain: string,
  clock: Clock,
): (token: string) => Promise<Caller> {
  const keySets = new WeakMap<object, ReturnType<typeof createLocalJWKSet>>()
  return async token => {
    if (Buffer.byteLength(token) > callerLimits.maxTokenBytes)
      throw refuse(`larger than ${callerLimits.maxTokenBytes} bytes`)
    const document: unknown = await jwks()
    if (!isKeySet(document)) throw refuse('the keys of its issuer cannot be read')
    const keys = keySets.get(document) ?? createLocalJWKSet(document)
    keySets.set(document, keys)
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience: typeof audience === 'string' ? audience : [...audience],
      algorithms: ALGORITHMS,
      requiredClaims: ['exp', 'sub'],
      currentDate: new Date(clock.now()),
    })
    return callerOf(payload, trustDomain, nodeAccounts)
  }
}

function callerOf(payload: JWTPayload, trustDomain: string, nodeAccounts: readonly string[]): Caller {
  const [, namespace, serviceAccount] = SUBJECT.exec(payload.sub ?? '') ?? []
  if (namespace === undefined || serviceAccount === undefined)
    throw refuse('is not that of a service account')
  const bound = recordOf(payload['kubernetes.io'])
  if (bound['namespace'] !== undefined && bound['namespace'] !== namespace)
    throw refuse('names two namespaces')
  const id: SpiffeId = workloadSpiffeId({ trustDomain, namespace, serviceAccount })
  const node = recordOf(bound['node'])['name']
  return nodeAccounts.includes(`${namespace}/${serviceAccount}`) && typeof node === 'string'
    ? { id, node }
    : { id }
}

/** Of the rest jose says itself that it is no key set. */
function isKeySet(value: unknown): value is JSONWebKeySet {
  const { keys } = recordOf(value)
  return Array.isArray(keys) && keys.length <= callerLimits.maxKeys
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {}
}

function refuse(what: string): IdentityError {
  return new IdentityError('AMBIENT_E_CA_REFUSED', `token: ${what}`, { layer: 'identity' })
}
