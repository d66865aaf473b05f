/** `ambient cert`: X.509 identities by hand. */
import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { registerCertId } from './id.ts'
import { registerCertIssue } from './issue.ts'
import { registerCertShow } from './show.ts'
import { registerCertVerify } from './verify.ts'

const EXAMPLES = `
Examples:
  $ ambient cert show web.pem --bundle roots.pem
  $ ambient cert show 127.0.0.1:15008
  $ ambient cert verify --chain web.pem --bundle roots.pem --trust-domain cluster.local --purpose server
  $ ambient cert id spiffe://cluster.local/ns/shop/sa/web
`

export function registerCert(program: Command, context: CommandContext): void {
  const cert = addCommand(program, 'cert', 'X.509 identities: show, verify, and more', context).addHelpText(
    'after',
    EXAMPLES,
  )
  registerCertShow(cert, context)
  registerCertVerify(cert, context)
  registerCertIssue(cert, context)
  registerCertId(cert, context)
}
