/** Istio's `IstioCertificateService` on a gRPC server that somebody else binds, secures and closes. */
import { create } from '@bufbuild/protobuf'
import { type Server, type ServerUnaryCall, status } from '@grpc/grpc-js'
import { isAmbientError, type Logger, messageOf, silentLogger, type SpiffeId } from '@ambient/core'
import type { CertificateAuthority, SignedCertificate } from '../ca/authority.ts'
import { createCertificateMethod, IMPERSONATED_IDENTITY } from './protocol.ts'
import {
  type IstioCertificateRequest,
  type IstioCertificateResponse,
  IstioCertificateResponseSchema,
} from '../gen/istio-ca_pb.ts'
import { redacted } from '../svid/redact.ts'
import { chainOfCall } from '../tls/grpc.ts'
import { checkOptions } from '../option-checks.ts'

/** What is known of a caller; who that is, and what it may ask for, the authorizer decides. */
export interface CaCall {
  /** The bearer token. Shown as `[redacted]` by `JSON.stringify` and `util.inspect` of this object. */
  readonly token: string | undefined
  /** The `clusterid` header. */
  readonly clusterId: string | undefined
  /** The SPIFFE ID that a node proxy asks for on behalf of a workload, unparsed. */
  readonly impersonated: string | undefined
  /** The certificate that the caller's TLS client showed and the platform led to a root (DER); nothing else is checked. */
  readonly certificate?: Uint8Array | undefined
  /** What it sent behind that, and what the platform put there: who may have issued it. */
  readonly issuers?: readonly Uint8Array[]
  /** The request itself, for an authorizer that believes what is in it. */
  readonly csrPem: string
  /** `address:port`. */
  readonly peer: string
}

/** The identity to sign for, or why not. Reasons are logged here and never told to the caller. */
export type CaAuthorization =
  | { readonly ok: true; readonly id: SpiffeId }
  | { readonly ok: false; readonly reason: string }

export interface IssuedCertificate {
  readonly id: SpiffeId
  readonly peer: string
  readonly impersonated: boolean
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

export interface CaServiceOptions {
  readonly ca: CertificateAuthority
  readonly authorize: (call: CaCall) => CaAuthorization | Promise<CaAuthorization>
  readonly onIssued?: (issued: IssuedCertificate) => void
  readonly logger?: Logger
}

export interface CaService {
  addTo(server: Server): void
}

interface Refusal {
  readonly code: status
  readonly details: string
}

type CertificateCall = ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>

/** Istiod's answers; more would tell a guesser how close it came. */
const UNAUTHENTICATED = 'request authenticate failure'
const IMPERSONATION_REFUSED = 'request impersonation authentication failure'

/**
 * Names come from `authorize` alone; a request contributes its key and its wanted lifetime. Refusals are
 * UNAUTHENTICATED with istiod's opaque texts, unusable requests and lifetimes INVALID_ARGUMENT.
 */
export function createCaService(options: CaServiceOptions): CaService {
  checkOptions(options, { ca: 'authority', authorize: 'function' })
  const resolved = { onIssued: () => {}, logger: silentLogger, ...options }
  return {
    addTo(server) {
      server.addService(
        { createCertificate: createCertificateMethod },
        {
          createCertificate: (
            call: CertificateCall,
            answer: (refusal: Refusal | null, response?: IstioCertificateResponse) => void,
          ) => {
            handle(resolved, call).then(
              response => answer(null, response),
              (failure: unknown) => answer(refusalOf(resolved.logger, call, failure)),
            )
          },
        },
      )
    },
  }
}

/** Thrown to answer UNAUTHENTICATED; its message stays with us. */
class Refused extends Error {
  readonly details: string
  constructor(details: string, reason: string) {
    super(reason)
    this.details = details
  }
}

async function handle(
  options: Required<CaServiceOptions>,
  call: CertificateCall,
): Promise<IstioCertificateResponse> {
  const impersonated = impersonatedOf(call.request)
  const token = bearerOf(call)
  const [certificate, ...issuers] = chainOfCall(call)
  const shown = {
    clusterId: textOf(call, 'clusterid'),
    impersonated,
    certificate,
    issuers,
    csrPem: call.request.csr,
    peer: call.getPeer(),
  }
  const facts: CaCall = redacted(
    { ...shown, token },
    { ...shown, token: token === undefined ? undefined : '[redacted]' },
  )
  const details = impersonated === undefined ? UNAUTHENTICATED : IMPERSONATION_REFUSED
  let verdict: CaAuthorization
  try {
    verdict = await options.authorize(facts)
  } catch (error) {
    throw new Refused(details, `the authorizer failed: ${messageOf(error)}`)
  }
  if (!verdict.ok) throw new Refused(details, verdict.reason)
  const { id } = verdict
  const signed: SignedCertificate = await options.ca.sign({
    id,
    csrPem: call.request.csr,
    ttlMs: Number(call.request.validityDuration) * 1_000,
  })
  tell(options, {
    id,
    peer: facts.peer,
    impersonated: impersonated !== undefined,
    notBefore: signed.notBefore,
    notAfter: signed.notAfter,
  })
  return create(IstioCertificateResponseSchema, { certChain: [...signed.chain] })
}

function tell({ onIssued, logger }: Required<CaServiceOptions>, issued: IssuedCertificate): void {
  logger.debug({ identity: issued.id.uri, peer: issued.peer }, 'certificate issued')
  try {
    onIssued(issued)
  } catch (error) {
    logger.error({ error: messageOf(error) }, 'a listener for issued certificates failed')
  }
}

function refusalOf(logger: Logger, call: CertificateCall, failure: unknown): Refusal {
  const peer = call.getPeer()
  if (failure instanceof Refused) {
    logger.warn({ peer, reason: failure.message }, 'certificate refused')
    return { code: status.UNAUTHENTICATED, details: failure.details }
  }
  logger.warn({ peer, reason: messageOf(failure) }, 'certificate not signed')
  return isAmbientError(failure)
    ? { code: status.INVALID_ARGUMENT, details: failure.message }
    : { code: status.INTERNAL, details: 'the certificate could not be signed' }
}

/** Anything but a non-empty string in that place is not a misspelt absence. */
function impersonatedOf(request: IstioCertificateRequest): string | undefined {
  const { metadata } = request
  if (metadata === undefined || !Object.hasOwn(metadata, IMPERSONATED_IDENTITY)) return undefined
  const value = metadata[IMPERSONATED_IDENTITY]
  if (typeof value !== 'string' || value === '')
    throw new Refused(IMPERSONATION_REFUSED, `${IMPERSONATED_IDENTITY} is not a string`)
  return value
}

function bearerOf(call: CertificateCall): string | undefined {
  for (const value of call.metadata.get('authorization')) {
    const token = /^Bearer +(\S+)$/i.exec(String(value))?.[1]
    if (token !== undefined) return token
  }
  return undefined
}

function textOf(call: CertificateCall, header: string): string | undefined {
  const [value] = call.metadata.get(header)
  return typeof value === 'string' ? value : undefined
}
