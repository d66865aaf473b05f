/** `ambient ca init`: a root, an intermediate, and the files that Istio's plugin CA has. */
import { join } from 'node:path'
import { type CaKeyType, caKeyTypes, createCertificateAuthorityFiles } from '@ambient/identity'
import type { Command } from 'commander'
import { addCommand, type CommandContext, outputOption } from '../command-line.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { badValue, lifetime } from './values.ts'

interface InitOptions {
  readonly dir: string
  readonly trustDomain: string
  readonly keyType?: string
  readonly rootTtl?: string
  readonly intermediateTtl?: string
  readonly output: OutputFormat
}

const EXAMPLES = `
Examples:
  $ ambient ca init --dir ca --trust-domain cluster.local
  $ ambient ca init --dir ca --trust-domain cluster.local --key-type P-384 --root-ttl 43800h

DIR/root-cert.pem is the trust anchor. ca-cert.pem is the intermediate that
signs, cert-chain.pem the way from it to the root, crl.pem what was revoked;
ca-key.pem and root-key.pem are for their owner's eyes only. A folder that holds
a CA already is left alone.
`

export function registerCaInit(ca: Command, context: CommandContext): void {
  addCommand(ca, 'init', 'make a CA in a folder', context)
    .requiredOption('--dir <folder>', 'where; made if it is not there')
    .requiredOption('--trust-domain <name>', 'the trust domain that it speaks for')
    .option('--key-type <type>', `${caKeyTypes.join(', ')} (default: P-256)`)
    .option('--root-ttl <duration>', 'how long the root is good for (default: 87600h)')
    .option('--intermediate-ttl <duration>', 'how long the intermediate is (default: 43800h)')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: InitOptions) => context.finish(await init(options, context.host)))
}

async function init(options: InitOptions, host: CliHost): Promise<number> {
  const { dir, trustDomain, keyType, rootTtl, intermediateTtl } = options
  await createCertificateAuthorityFiles({
    dir,
    trustDomain,
    ...(keyType === undefined ? {} : { keyType: keyTypeOf(keyType) }),
    ...(rootTtl === undefined ? {} : { rootTtlMs: lifetime('--root-ttl', rootTtl) }),
    ...(intermediateTtl === undefined
      ? {}
      : { intermediateTtlMs: lifetime('--intermediate-ttl', intermediateTtl) }),
  })
  const facts = { dir, trustDomain, rootCert: join(dir, 'root-cert.pem'), crl: join(dir, 'crl.pem') }
  host.stdout(
    render(options.output, facts, () => `CA of ${trustDomain} in ${dir}; trust anchor ${facts.rootCert}\n`),
  )
  return EXIT_OK
}

function keyTypeOf(text: string): CaKeyType {
  const found = caKeyTypes.find(known => known.toLowerCase() === text.toLowerCase())
  if (found === undefined) throw badValue('--key-type', `expected one of ${caKeyTypes.join(', ')}`)
  return found
}
