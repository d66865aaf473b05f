/** The rotation drill: a CA, an HBONE server and its callers in this process, and everything that rotates, under load. */
import { setMaxListeners } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Logger, systemClock, workloadSpiffeId } from '@ambient/core'
import { dial, listen } from '@ambient/core/node'
import { createHbonePool, createHboneServer, type SocketAddress } from '@ambient/hbone'
import {
  type CertificateAuthorityFolder,
  type CertificateSigner,
  createCertificateAuthorityFiles,
  createIdentityManager,
  createLocalSigner,
  openCertificateAuthority,
  readPemCertificates,
} from '@ambient/identity'
import { CliError } from '../errors.ts'
import { echo } from '../hbone/echo.ts'
import type { Dated } from './drill-forecast.ts'
import { type LoadCounts, startLoad } from './drill-load.ts'

export interface DrillOptions {
  readonly clients: number
  /** How long each step is under load, at least. */
  readonly stepMs: number
  readonly signal: AbortSignal
  readonly logger: Logger
  onStep(what: string): void
}

export interface DrillStep extends LoadCounts {
  readonly step: string
  readonly what: string
  /** Handshakes within the step. */
  readonly connections: number
  /** Roots that are believed after it. */
  readonly roots: number
}

export interface DrillResult {
  readonly steps: readonly DrillStep[]
  /** What is held when the CA is broken. */
  readonly held: readonly Dated[]
}

const TRUST_DOMAIN = 'drill.local'
/** After each change, so many requests have to begin and end for each client. */
const REQUESTS_PER_CLIENT = 5
const WEB = workloadSpiffeId({ trustDomain: TRUST_DOMAIN, namespace: 'drill', serviceAccount: 'web' })
const DB = workloadSpiffeId({ trustDomain: TRUST_DOMAIN, namespace: 'drill', serviceAccount: 'db' })

/** Everything that is made is gone at the end: sockets, timers, the folder of the CA. */
export async function runDrill(options: DrillOptions): Promise<DrillResult> {
  const closers: (() => Promise<unknown>)[] = []
  try {
    return await drill(options, closers)
  } finally {
    for (const close of closers.reverse()) await close()
  }
}

async function drill(options: DrillOptions, closers: (() => Promise<unknown>)[]): Promise<DrillResult> {
  const { logger, signal } = options
  const ca = await temporaryCa(logger, closers)
  const switched = breakable(createLocalSigner(ca))
  const identities = createIdentityManager({ signer: switched.signer, logger })
  closers.push(() => identities.close())
  const renew = async (): Promise<void> => {
    await Promise.all([identities.rotate(WEB), identities.rotate(DB)])
  }
  await renew()
  const to = await startServer(() => identities.get(DB), options, closers)
  let connections = 0
  const pool = createHbonePool({
    logger,
    dial: target => {
      connections += 1
      return dial(target)
    },
  })
  closers.push(() => pool.close({ graceMs: 0 }))
  const load = startLoad({
    ...{ pool, to, expect: DB, clients: options.clients },
    credentials: () => identities.get(WEB),
  })
  closers.push(() => load.stop())
  const steps: DrillStep[] = []
  for (const { step, what, change } of plan(ca, renew, switched)) {
    signal.throwIfAborted()
    options.onStep(what)
    load.take()
    connections = 0
    await change()
    await Promise.all([load.after(REQUESTS_PER_CLIENT * (options.clients + 1)), pause(options)])
    signal.throwIfAborted()
    const roots = readPemCertificates((await identities.get(WEB)).trustBundle).length
    steps.push({ step, what, ...load.take(), connections, roots })
  }
  const held = [await identities.get(WEB), await identities.get(DB)].map(({ id, notBefore, notAfter }) => ({
    ...{ where: 'drill', who: id.uri, isCa: false, notBefore, notAfter },
  }))
  return { steps, held }
}

interface PlannedStep {
  readonly step: string
  readonly what: string
  change(): Promise<void>
}

function plan(
  ca: CertificateAuthorityFolder,
  renew: () => Promise<void>,
  switched: ReturnType<typeof breakable>,
): readonly PlannedStep[] {
  const rotateRoot = (step: 'add' | 'drop' | 'sign') => async (): Promise<void> => {
    await ca.rotateRoot(step)
    await renew()
  }
  return [
    { step: 'calm', what: 'nothing rotates', change: async () => {} },
    { step: 'leaf', what: 'both workloads get new certificates and keys', change: renew },
    {
      step: 'intermediate',
      what: 'another intermediate signs, then the workloads',
      change: async () => {
        await ca.rotateIntermediate()
        await renew()
      },
    },
    { step: 'root-add', what: 'a new root is believed; the old one signs', change: rotateRoot('add') },
    { step: 'root-sign', what: 'the new root signs; both are believed', change: rotateRoot('sign') },
    { step: 'root-cut', what: 'the old root is not believed any more', change: rotateRoot('drop') },
    {
      step: 'ca-broken',
      what: 'the CA answers nobody; renewal fails',
      change: async () => {
        switched.isBroken = true
        const renewed = await renew().then(
          () => true,
          () => false,
        )
        if (renewed) throw new CliError('AMBIENT_E_CLI_INPUT', 'the drill: a broken CA has signed')
      },
    },
    {
      step: 'ca-back',
      what: 'the CA answers again; the workloads get new certificates',
      change: async () => {
        switched.isBroken = false
        await renew()
      },
    },
  ]
}

async function temporaryCa(
  logger: Logger,
  closers: (() => Promise<unknown>)[],
): Promise<CertificateAuthorityFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'ambient-drill-'))
  closers.push(() => rm(folder, { recursive: true, force: true }))
  const dir = join(folder, 'ca')
  await createCertificateAuthorityFiles({ dir, trustDomain: TRUST_DOMAIN })
  const ca = await openCertificateAuthority({ dir, logger })
  closers.push(() => ca.close())
  return ca
}

/** A CA that can be made to fail. */
function breakable(working: CertificateSigner): { isBroken: boolean; readonly signer: CertificateSigner } {
  const switched = {
    isBroken: false,
    signer: {
      async sign(request: Parameters<CertificateSigner['sign']>[0]) {
        if (switched.isBroken) throw new Error('the drill has broken the CA')
        return working.sign(request)
      },
      close: () => working.close(),
    },
  }
  return switched
}

async function startServer(
  credentials: Parameters<typeof createHboneServer>[0]['credentials'],
  { logger }: DrillOptions,
  closers: (() => Promise<unknown>)[],
): Promise<SocketAddress> {
  const cut = new AbortController()
  // One listener for each open tunnel.
  setMaxListeners(0, cut.signal)
  const server = createHboneServer({
    credentials,
    logger,
    onTunnel: request => echo(request.accept(), cut.signal),
  })
  closers.push(() => server.close({ graceMs: 0 }))
  const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
  closers.push(() => listener.close())
  return { address: listener.address, port: listener.port }
}

function pause({ stepMs, signal }: DrillOptions): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      timer.cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = systemClock.after(stepMs, done)
    signal.addEventListener('abort', done)
  })
}
