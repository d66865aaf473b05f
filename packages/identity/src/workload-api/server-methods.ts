/** The five methods of a Workload API for one connection, whose caller is known. */
import { type JsonObject, create } from '@bufbuild/protobuf'
import { toBinary } from '@bufbuild/protobuf'
import {
  type sendUnaryData,
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js'
import { type Clock, type CredentialsSource, type Logger, messageOf, readSpiffeId } from '@ambient/core'
import type { SpiffeBundle } from '../bundle/spiffe-bundle.ts'
import { workloadApiDefaults, workloadApiServerDefaults } from '../defaults.ts'
import {
  type JWTBundlesRequest,
  type JWTBundlesResponse,
  JWTBundlesResponseSchema,
  type JWTSVIDRequest,
  type JWTSVIDResponse,
  JWTSVIDResponseSchema,
  JWTSVIDSchema,
  type ValidateJWTSVIDRequest,
  type ValidateJWTSVIDResponse,
  ValidateJWTSVIDResponseSchema,
  type X509BundlesRequest,
  type X509BundlesResponse,
  X509BundlesResponseSchema,
  type X509SVIDRequest,
  type X509SVIDResponse,
  X509SVIDResponseSchema,
} from '../gen/workload-api_pb.ts'
import type { JwtAuthority } from '../jwt/authority.ts'
import { verifyJwtSvid } from '../jwt/jwt-svid.ts'
import type { AttestWorkload, DueIdentity, WorkloadCaller } from './caller.ts'
import {
  type Beliefs,
  type DueSvid,
  followSvids,
  jwtBundlesResponse,
  x509BundlesResponse,
  x509Response,
} from './due-svids.ts'
import { SECURITY_HEADER, workloadApi } from './protocol.ts'
import { CallRefused, sendSnapshots, type SnapshotSubject, statusOf } from './snapshot-stream.ts'

/** What the methods need of their server. */
export interface WorkloadApiHost {
  readonly source: CredentialsSource
  readonly attest: AttestWorkload
  readonly jwt: JwtAuthority | undefined
  readonly clock: Clock
  readonly logger: Logger
  federation(): ReadonlyMap<string, SpiffeBundle>
  beliefs(): Promise<Beliefs>
  /** A policy, a bundle or a set of JWT keys has changed. */
  watch(changed: () => void): () => void
  /** A token was signed: its key may be a new one. */
  signed(): void
  /** The caller's streams end cleanly when the server closes. */
  readonly closing: AbortSignal
}

interface AnyCall {
  readonly metadata: { get(name: string): readonly unknown[] }
}

/** Adds the service to a server that has this one caller. */
export function addWorkloadApi(server: Server, host: WorkloadApiHost, caller: WorkloadCaller): void {
  server.addService(
    {
      FetchX509SVID: workloadApi.fetchX509Svid,
      FetchX509Bundles: workloadApi.fetchX509Bundles,
      FetchJWTSVID: workloadApi.fetchJwtSvid,
      FetchJWTBundles: workloadApi.fetchJwtBundles,
      ValidateJWTSVID: workloadApi.validateJwtSvid,
    },
    {
      FetchX509SVID: (call: ServerWritableStream<X509SVIDRequest, X509SVIDResponse>) =>
        stream(host, caller, call, x509Subject(host, caller)),
      FetchX509Bundles: (call: ServerWritableStream<X509BundlesRequest, X509BundlesResponse>) =>
        stream(host, caller, call, bundlesSubject(host, caller)),
      FetchJWTBundles: (call: ServerWritableStream<JWTBundlesRequest, JWTBundlesResponse>) =>
        stream(host, caller, call, jwtBundlesSubject(host, caller)),
      FetchJWTSVID: (
        call: ServerUnaryCall<JWTSVIDRequest, JWTSVIDResponse>,
        answer: sendUnaryData<JWTSVIDResponse>,
      ) => unary(host, caller, call, answer, () => fetchJwtSvids(host, caller, call.request)),
      ValidateJWTSVID: (
        call: ServerUnaryCall<ValidateJWTSVIDRequest, ValidateJWTSVIDResponse>,
        answer: sendUnaryData<ValidateJWTSVIDResponse>,
      ) => unary(host, caller, call, answer, () => validateJwtSvid(host, caller, call.request)),
    },
  )
}

/** Ends the call itself when the header is missing or the server closes. */
function stream<Request, Response>(
  host: WorkloadApiHost,
  caller: WorkloadCaller,
  call: ServerWritableStream<Request, Response>,
  subject: SnapshotSubject<Response>,
): void {
  const end = (): void => void call.end()
  host.closing.addEventListener('abort', end, { once: true })
  const checked: SnapshotSubject<Response> = {
    ...subject,
    build(signal) {
      checkHeader(call)
      return subject.build(signal)
    },
  }
  sendSnapshots(call, checked, error => told(host, caller, error)).finally(() =>
    host.closing.removeEventListener('abort', end),
  )
}

function unary<Response>(
  host: WorkloadApiHost,
  caller: WorkloadCaller,
  call: AnyCall,
  answer: sendUnaryData<Response>,
  run: () => Promise<Response>,
): void {
  const checked = async (): Promise<Response> => {
    checkHeader(call)
    return run()
  }
  checked().then(
    response => answer(null, response),
    (error: unknown) => answer(told(host, caller, error)),
  )
}

function told(host: WorkloadApiHost, caller: WorkloadCaller, error: unknown): ReturnType<typeof statusOf> {
  const refusal = statusOf(error)
  host.logger.warn({ ...caller, status: status[refusal.code], reason: refusal.details }, 'workload refused')
  return refusal
}

function checkHeader({ metadata }: AnyCall): void {
  const [value, more] = metadata.get(SECURITY_HEADER)
  if (value !== 'true' || more !== undefined)
    throw new CallRefused(status.INVALID_ARGUMENT, `the header ${SECURITY_HEADER}: true is missing`)
}

/** @throws CallRefused when nothing is due. A policy that fails refuses. */
async function dueTo(
  { attest, logger }: WorkloadApiHost,
  caller: WorkloadCaller,
): Promise<readonly DueIdentity[]> {
  let due: readonly DueIdentity[]
  try {
    due = await attest(caller)
  } catch (error) {
    logger.error({ ...caller, error: messageOf(error) }, 'the policy for workloads failed')
    due = []
  }
  if (due.length === 0) throw new CallRefused(status.PERMISSION_DENIED, 'no identity is due to this workload')
  const long = due.find(({ hint = '' }) => Buffer.byteLength(hint) > workloadApiDefaults.maxHintBytes)
  if (long !== undefined)
    throw new CallRefused(status.INTERNAL, `the hint of ${long.id.uri} is longer than the protocol allows`)
  return due
}

function x509Subject(host: WorkloadApiHost, caller: WorkloadCaller): SnapshotSubject<X509SVIDResponse> {
  return {
    ...followed(host, caller, x509Response),
    serialize: response => toBinary(X509SVIDResponseSchema, response),
  }
}

function bundlesSubject(host: WorkloadApiHost, caller: WorkloadCaller): SnapshotSubject<X509BundlesResponse> {
  return {
    ...followed(host, caller, x509BundlesResponse),
    serialize: response => toBinary(X509BundlesResponseSchema, response),
  }
}

function followed<Response>(
  host: WorkloadApiHost,
  caller: WorkloadCaller,
  respond: (svids: readonly DueSvid[], beliefs: Beliefs) => Response,
): Pick<SnapshotSubject<Response>, 'build' | 'watch'> {
  let tell: () => void = () => {}
  const svids = followSvids(host.source, () => tell())
  return {
    async build(signal) {
      const current = await svids.current(await dueTo(host, caller), signal)
      return respond(current, await host.beliefs())
    },
    watch(changed) {
      tell = changed
      const stop = host.watch(changed)
      return () => {
        stop()
        svids.stop()
      }
    },
  }
}

function jwtBundlesSubject(
  host: WorkloadApiHost,
  caller: WorkloadCaller,
): SnapshotSubject<JWTBundlesResponse> {
  return {
    async build() {
      const bundles = jwtBundles(host)
      await dueTo(host, caller)
      return jwtBundlesResponse(bundles)
    },
    serialize: response => toBinary(JWTBundlesResponseSchema, response),
    watch: changed => host.watch(changed),
  }
}

/** @throws CallRefused when this server knows no JWT keys at all. */
function jwtBundles({ jwt, federation }: WorkloadApiHost): ReadonlyMap<string, SpiffeBundle> {
  const bundles = new Map([...federation()].filter(([, { jwtAuthorities }]) => jwtAuthorities.size > 0))
  if (jwt !== undefined)
    bundles.set(jwt.trustDomain, {
      trustDomain: jwt.trustDomain,
      x509Authorities: [],
      jwtAuthorities: jwt.authorities(),
      ignored: [],
    })
  if (bundles.size === 0)
    throw new CallRefused(status.UNIMPLEMENTED, 'this server has nothing to do with JWT-SVIDs')
  return bundles
}

async function fetchJwtSvids(
  host: WorkloadApiHost,
  caller: WorkloadCaller,
  { audience, spiffeId }: JWTSVIDRequest,
): Promise<JWTSVIDResponse> {
  const { jwt } = host
  if (jwt === undefined) throw new CallRefused(status.UNIMPLEMENTED, 'this server signs no JWT-SVIDs')
  checkAudience(audience)
  if (spiffeId !== '' && !readSpiffeId(spiffeId).ok)
    throw new CallRefused(status.INVALID_ARGUMENT, 'spiffe_id: not a SPIFFE ID')
  const due = (await dueTo(host, caller)).filter(({ id }) => spiffeId === '' || id.uri === spiffeId)
  if (due.length === 0)
    throw new CallRefused(status.PERMISSION_DENIED, `${spiffeId} is not due to this workload`)
  const svids = await Promise.all(
    due.map(async ({ id, hint = '' }) => {
      const { token } = await jwt.sign({ id, audience })
      return create(JWTSVIDSchema, { spiffeId: id.uri, svid: token, hint })
    }),
  )
  host.signed()
  return create(JWTSVIDResponseSchema, { svids })
}

function checkAudience(audience: readonly string[]): void {
  if (audience.length === 0 || audience.includes(''))
    throw new CallRefused(status.INVALID_ARGUMENT, 'audience: nobody is named')
  if (audience.length > workloadApiServerDefaults.maxAudiences)
    throw new CallRefused(
      status.INVALID_ARGUMENT,
      `audience: ${audience.length} names, at most ${workloadApiServerDefaults.maxAudiences}`,
    )
}

async function validateJwtSvid(
  host: WorkloadApiHost,
  caller: WorkloadCaller,
  { audience, svid }: ValidateJWTSVIDRequest,
): Promise<ValidateJWTSVIDResponse> {
  const bundles = jwtBundles(host)
  if (audience === '' || svid === '')
    throw new CallRefused(status.INVALID_ARGUMENT, 'audience and svid are needed')
  await dueTo(host, caller)
  const verdict = await verifyJwtSvid({ token: svid, audience, bundles, now: host.clock.now() })
  if (!verdict.ok) throw new CallRefused(status.INVALID_ARGUMENT, verdict.reason)
  return create(ValidateJWTSVIDResponseSchema, {
    spiffeId: verdict.svid.id.uri,
    claims: structOf(verdict.svid.claims),
  })
}

/** Claims came as JSON, so they are JSON. */
function structOf(claims: object): JsonObject {
  const parsed: JsonObject = JSON.parse(JSON.stringify(claims))
  return parsed
}
