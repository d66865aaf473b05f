// The two identities of a run, made for it and gone with it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestIdentities } from '@ambient/identity/testing'

/** A folder with `source`, `destination` and `ca` in PEM. The caller removes it. */
export async function writeIdentities() {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-bench-'))
  const identities = await createTestIdentities()
  const write = (name, text) => writeFileSync(join(folder, name), text, { mode: 0o600 })
  for (const serviceAccount of ['source', 'destination']) {
    const credentials = await identities.credentials({ namespace: 'bench', serviceAccount })
    write(`${serviceAccount}.crt`, credentials.certificateChain)
    write(`${serviceAccount}.key`, credentials.privateKey())
    write('ca.crt', credentials.trustBundle)
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
