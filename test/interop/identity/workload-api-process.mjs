// A Workload API as a process of its own: a CA in a folder, a socket for each identity. Lines on standard input ask for what an
// agent does by itself in hours; each is answered by a line.
import { createInterface } from 'node:readline'
import { parseSpiffeId } from '@ambient/core'
import {
  attestBySelectors,
  createIdentityManager,
  createLocalSigner,
  createWorkloadApiServer,
  openCertificateAuthority,
} from '@ambient/identity'

const [dir, ...pairs] = process.argv.slice(2)
const due = pairs.map(pair => pair.split('=')).map(([uri, socket]) => ({ id: parseSpiffeId(uri), socket }))
const ca = await openCertificateAuthority({ dir })
const manager = createIdentityManager({ signer: createLocalSigner(ca) })
const server = createWorkloadApiServer({
  listen: due.map(({ socket }) => `unix://${socket}`),
  attest: attestBySelectors(due.map(({ id, socket }) => ({ id, selectors: { socket } }))),
  credentials: manager,
})
await server.start()
process.stdout.write('ready\n')
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'rotate') for (const { id } of due) await manager.rotate(id)
  else if (line === 'intermediate') await ca.rotateIntermediate()
  else if (line === 'end') break
  else await ca.rotateRoot(line)
  process.stdout.write(`${line}\n`)
}
await server.close()
await manager.close()
await ca.close()
// Its pipe would be waited for.
process.stdin.destroy()
