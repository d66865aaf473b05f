/** The entry file of the signing thread: leaves for one issuer, whose key it was started with. */
import { parentPort, workerData } from 'node:worker_threads'
import { messageOf } from '@ambient/core'
import { IdentityError, type IdentityErrorCode } from '../errors.ts'
import { createLeafSigner, type IssuerMaterial, type LeafRequest, type SignedLeaf } from './leaf.ts'

export interface WorkerJob {
  readonly id: number
  readonly request: LeafRequest
}

export type WorkerAnswer =
  | { readonly id: number; readonly ok: true; readonly leaf: SignedLeaf }
  | { readonly id: number; readonly ok: false; readonly code: IdentityErrorCode; readonly message: string }

// Our own parent starts it, with nothing else.
const sign = createLeafSigner(workerData as IssuerMaterial)

async function answer({ id, request }: WorkerJob): Promise<WorkerAnswer> {
  try {
    return { id, ok: true, leaf: await sign(request) }
  } catch (error) {
    const code = error instanceof IdentityError ? error.code : 'AMBIENT_E_CERTIFICATE_REQUEST'
    return { id, ok: false, code, message: messageOf(error) }
  }
}

parentPort?.on('message', (job: WorkerJob) => void answer(job).then(done => parentPort?.postMessage(done)))
