/** The signing thread of the built package, as ESM and as CJS: a crowd starts it, it holds nobody up, its loss costs nothing. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const folder = dirname(dirname(fileURLToPath(import.meta.url)))
const isBuilt = existsSync(join(folder, 'dist', 'ca', 'signing-worker.js'))

/** Prints the threads that were started, the certificates, and the warnings; ends by itself. */
const PROGRAM = `
const threads = []
process.on('worker', worker => threads.push(worker))
const warnings = []
const logger = { debug() {}, info() {}, warn: (_, text) => warnings.push(text), error() {} }
const run = async ({ createCertificateAuthority, createCertificateRequest }, { parseSpiffeId }) => {
  const ca = await createCertificateAuthority({ trustDomain: 'td', intermediate: true, logger })
  const sign = async name => {
    const id = parseSpiffeId('spiffe://td/ns/a/sa/' + name)
    const { csrPem } = await createCertificateRequest(id)
    return (await ca.sign({ id, csrPem })).chain.length
  }
  await sign('alone')
  const before = threads.length
  const crowd = Array.from({ length: 24 }, (_, index) => sign('w' + index))
  if (process.argv[1] === 'lose') {
    while (threads.length === 0) await new Promise(resolve => setImmediate(resolve))
    threads[0].terminate()
  }
  const chains = await Promise.all(crowd)
  const refused = await ca.sign({ id: parseSpiffeId('spiffe://td/ns/a/sa/b'), csrPem: 'x' }).catch(error => error.code)
  console.log(JSON.stringify({ before, threads: threads.length, signed: chains.filter(length => length === 3).length, refused, warnings }))
}
`
const ESM = `${PROGRAM}\nawait run(await import('@ambient/identity'), await import('@ambient/core'))`
const CJS = `${PROGRAM}\nrun(require('@ambient/identity'), require('@ambient/core'))`

async function printed(type: 'commonjs' | 'module', program: string, ...args: string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [`--input-type=${type}`, '-e', program, ...args],
    { cwd: folder, timeout: 20_000 },
  )
  return JSON.parse(stdout)
}

describe.skipIf(!isBuilt)(
  `the signing thread${isBuilt ? '' : ' (skipped: the package is not built)'}`,
  () => {
    const expected = {
      before: 0,
      threads: 1,
      signed: 24,
      refused: 'AMBIENT_E_CERTIFICATE_REQUEST',
      warnings: [],
    }

    it('is started by a crowd, and lets the process end', async () => {
      expect(await printed('module', ESM)).toEqual(expected)
      expect(await printed('commonjs', CJS)).toEqual(expected)
    })

    it('loses nothing when it dies', async () => {
      expect(await printed('module', ESM, 'lose')).toEqual({
        ...expected,
        warnings: ['no thread for signing; certificates are signed in this one'],
      })
    })
  },
)
