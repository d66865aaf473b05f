/** `ambient cert`: X.509 identities by hand. */
import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { registerCertBundle } from './bundle.ts'
import { registerCertDrill } from './drill.ts'
import { registerCertId } from './id.ts'
import { registerCertIssue } from './issue.ts'
import { registerCertShow } from './show.ts'
import { registerCertVerify } from './verify.ts'
import { registerCertWatch } from './watch.ts'

const EXAMPLES = `
Examples:
  $ ambient cert show web.pem --bundle roots.pem
  $ ambient cert show 127.0.0.1:15008
  $ ambient cert verify --chain web.pem --bundle roots.pem --trust-domain cluster.local --purpose server
  $ ambient cert issue --dir ca --id spiffe://cluster.local/ns/shop/sa/web --out web
  $ ambient cert watch --cert web/cert-chain.pem --key web/key.pem --ca web/root-cert.pem
  $ ambient cert bundle ca/root-cert.pem -o spiffe
  $ ambient cert drill --dir ca
  $ ambient cert id spiffe://cluster.local/ns/shop/sa/web
`

export function registerCert(program: Command, context: CommandContext): void {
  const cert = addCommand(
    program,
    'cert',
    'X.509 identities: show, verify, issue, watch, bundle, drill',
    context,
  ).addHelpText('after', EXAMPLES)
  registerCertShow(cert, context)
  registerCertVerify(cert, context)
  registerCertIssue(cert, context)
  registerCertWatch(cert, context)
  registerCertBundle(cert, context)
  registerCertDrill(cert, context)
  registerCertId(cert, context)
}
