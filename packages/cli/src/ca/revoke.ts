/** `ambient ca revoke`: a certificate on its issuer's list, in `crl.pem`. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '@ambient/core'
import { openCertificateAuthority } from '@ambient/identity'
import type { Command } from 'commander'
import { addCommand, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { stderrLogger } from '../hbone/stderr-logger.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { badValue } from './values.ts'

interface RevokeOptions {
  readonly dir: string
  readonly serial?: string
  readonly cert?: string
  readonly output: OutputFormat
}

const EXAMPLES = `
Examples:
  $ ambient ca revoke --dir ca --cert web/cert-chain.pem
  $ ambient ca revoke --dir ca --serial 5f0c…

Of a file the first certificate is revoked. DIR/crl.pem holds a list of each
authority of the folder: proxies read it (CRL_PATH), and \`ambient cert verify\`
and \`show\` (--crl).
`

export function registerCaRevoke(ca: Command, context: CommandContext): void {
  addCommand(ca, 'revoke', 'put a certificate on the revocation list', context)
    .requiredOption('--dir <folder>', 'the folder of the CA')
    .option('--cert <file>', 'the certificate (PEM)')
    .option('--serial <number>', 'its serial number, in hexadecimal')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: RevokeOptions) => context.finish(await revoke(options, context.host)))
}

async function revoke({ dir, serial, cert, output }: RevokeOptions, host: CliHost): Promise<number> {
  if ((serial === undefined) === (cert === undefined))
    throw new CliError('AMBIENT_E_CLI_USAGE', 'one of --cert and --serial says which certificate')
  const what = cert === undefined ? (serial ?? '') : await firstCertificate(cert)
  const ca = await openCertificateAuthority({ dir, logger: stderrLogger(host, false) })
  try {
    const facts = { revoked: await ca.revoke(what), crl: join(dir, 'crl.pem') }
    host.stdout(render(output, facts, () => `revoked ${facts.revoked}: ${facts.crl}\n`))
  } finally {
    await ca.close()
  }
  return EXIT_OK
}

async function firstCertificate(file: string): Promise<string> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw badValue('--cert', messageOf(error))
  }
  const pem = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/.exec(text)?.[0]
  if (pem === undefined) throw badValue('--cert', `${file} holds no certificate`)
  return `${pem}\n`
}
