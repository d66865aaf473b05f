/** `ambient ca`: a CA in a folder, for development and small meshes. */
import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { registerCaInit } from './init.ts'
import { registerCaRevoke } from './revoke.ts'
import { registerCaRotateRoot } from './rotate-root.ts'
import { registerCaServe } from './serve.ts'

const EXAMPLES = `
Examples:
  $ ambient ca init --dir ca --trust-domain cluster.local
  $ ambient cert issue --dir ca --id spiffe://cluster.local/ns/shop/sa/web --out web
  $ ambient ca serve --dir ca --listen 127.0.0.1:15012 --tokens tokens.txt
  $ ambient ca rotate-root --dir ca
  $ ambient ca revoke --dir ca --cert web/cert-chain.pem
`

export function registerCa(program: Command, context: CommandContext): void {
  const ca = addCommand(
    program,
    'ca',
    'a CA in a folder: init, serve, rotate-root, revoke',
    context,
  ).addHelpText('after', EXAMPLES)
  registerCaInit(ca, context)
  registerCaServe(ca, context)
  registerCaRotateRoot(ca, context)
  registerCaRevoke(ca, context)
}
