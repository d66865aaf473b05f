/** `ambient cert issue`: a certificate from a CA's folder, with a key of ours or for a foreign request. */
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isAmbientError, messageOf } from '@ambient/core'
import {
  type CertificateAuthorityFolder,
  createCertificateRequest,
  openCertificateAuthority,
  type SignedCertificate,
} from '@ambient/identity'
import type { Command } from 'commander'
import { badValue, lifetime, spiffeId } from '../ca/values.ts'
import { addCommand, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { stderrLogger } from '../hbone/stderr-logger.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'

interface IssueOptions {
  readonly dir: string
  readonly out: string
  readonly id?: string
  readonly csr?: string
  readonly caller?: string
  readonly ttl?: string
  readonly output: OutputFormat
}

const EXAMPLES = `
Examples:
  $ ambient cert issue --dir ca --id spiffe://cluster.local/ns/shop/sa/web --out web
  $ ambient cert issue --dir ca --csr web.csr --caller spiffe://cluster.local/ns/shop/sa/web --out web.pem

With --id, --out is a folder that gets cert-chain.pem, key.pem (0600) and
root-cert.pem. With --csr, --out is a file that gets the certificate and its
intermediates; every name comes from --caller, none from the request.

Exit code 0: issued; 1: refused, and the answer names the rule.
`

export function registerCertIssue(cert: Command, context: CommandContext): void {
  addCommand(cert, 'issue', 'a certificate from a CA in a folder', context)
    .requiredOption('--dir <folder>', 'the folder of the CA (`ambient ca init`)')
    .requiredOption('--out <path>', 'where to write it')
    .option('--id <spiffe-id>', 'for whom; a key is made')
    .option('--csr <file>', 'a certificate request (PEM) of somebody else')
    .option('--caller <spiffe-id>', 'who sent the request')
    .option('--ttl <duration>', 'for how long, such as 24h or 90m (default: 24h)')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: IssueOptions) => context.finish(await issue(options, context.host)))
}

async function issue(options: IssueOptions, host: CliHost): Promise<number> {
  const { id, csr, caller, ttl } = options
  const isWhole = id === undefined ? csr !== undefined && caller !== undefined : (csr ?? caller) === undefined
  if (!isWhole) throw new CliError('AMBIENT_E_CLI_USAGE', 'either --id, or --csr with --caller, is due')
  try {
    const ttlMs = ttl === undefined ? undefined : lifetime('--ttl', ttl)
    const ca = await openCertificateAuthority({ dir: options.dir, logger: stderrLogger(host, false) })
    try {
      const facts =
        id === undefined
          ? await signRequest(ca, options, csr ?? '', caller ?? '', ttlMs)
          : await makeCertificate(ca, options, id, ttlMs)
      host.stdout(render(options.output, facts, () => `issued ${facts.id} until ${facts.notAfter}\n`))
    } finally {
      await ca.close()
    }
    return EXIT_OK
  } catch (error) {
    if (options.output === 'table' || !isAmbientError(error)) throw error
    const refusal = { issued: false, code: error.code, message: error.message }
    host.stdout(render(options.output, refusal, () => ''))
    return EXIT_FAILED
  }
}

interface Issued {
  readonly issued: true
  readonly id: string
  readonly notBefore: string
  readonly notAfter: string
  readonly files: readonly string[]
}

async function makeCertificate(
  ca: CertificateAuthorityFolder,
  { out }: IssueOptions,
  uri: string,
  ttlMs: number | undefined,
): Promise<Issued> {
  const id = spiffeId('--id', uri)
  const { csrPem, privateKey } = await createCertificateRequest(id)
  const signed = await ca.sign({ csrPem, id, ...(ttlMs === undefined ? {} : { ttlMs }) })
  const [chain, key, roots] = ['cert-chain.pem', 'key.pem', 'root-cert.pem'].map(name => join(out, name))
  // The key first: whoever watches the chain finds the key that belongs to it.
  await write(key ?? '', privateKey, 0o600)
  await write(roots ?? '', signed.chain.at(-1) ?? '', 0o644)
  await write(chain ?? '', signed.chain.slice(0, -1).join(''), 0o644)
  return facts(id.uri, signed, [chain ?? '', key ?? '', roots ?? ''])
}

async function signRequest(
  ca: CertificateAuthorityFolder,
  { out }: IssueOptions,
  file: string,
  caller: string,
  ttlMs: number | undefined,
): Promise<Issued> {
  const id = spiffeId('--caller', caller)
  const csrPem = await readFile(file, 'utf8').catch((error: unknown) => {
    throw badValue('--csr', messageOf(error))
  })
  const signed = await ca.sign({ csrPem, id, ...(ttlMs === undefined ? {} : { ttlMs }) })
  await write(out, signed.chain.slice(0, -1).join(''), 0o644)
  return facts(id.uri, signed, [out])
}

function facts(id: string, { notBefore, notAfter }: SignedCertificate, files: readonly string[]): Issued {
  const time = (ms: number): string => new Date(ms).toISOString()
  return { issued: true, id, notBefore: time(notBefore), notAfter: time(notAfter), files }
}

/** Readers see the old file or the new one. */
async function write(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.new`
  try {
    await mkdir(dirname(path), { recursive: true })
    await rm(temporary, { force: true })
    await writeFile(temporary, text, { mode, flag: 'wx' })
    // Whatever the umask leaves of it: certificates are for everybody.
    if (mode !== 0o600) await chmod(temporary, mode)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw new CliError('AMBIENT_E_CLI_WRITE', `${path}: ${messageOf(error)}`, { cause: error })
  }
}
