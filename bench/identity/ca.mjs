// A CA in a folder, served as `ambient ca serve` serves it, for callers that say themselves who they are.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  believeRequests,
  createCaServer,
  createCertificateAuthorityFiles,
  openCertificateAuthority,
} from '@ambient/identity'

const dir = mkdtempSync(join(tmpdir(), 'ambient-bench-ca-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
process.on('SIGTERM', () => process.exit(0))
await createCertificateAuthorityFiles({ dir, trustDomain: 'bench.local' })
const ca = await openCertificateAuthority({ dir })
const authorize = believeRequests('bench.local')
const server = createCaServer({ ca, host: '127.0.0.1', port: 0, authorize })
console.log(JSON.stringify({ port: await server.start(), root: ca.rootPem }))
