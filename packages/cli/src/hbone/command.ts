/** `ambient hbone`: HBONE by itself, without a mesh around it. */
import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { registerConformance } from './conformance.ts'
import { registerHboneConnect } from './connect.ts'
import { registerForward } from './forward.ts'
import { registerServe } from './serve.ts'

const EXAMPLES = `
Examples:
  $ ambient hbone serve --listen 127.0.0.1:15008 --allow-target 127.0.0.1:5432 --cert … --key … --ca …
  $ ambient hbone forward --via 127.0.0.1:15008 --forward 127.0.0.1:6432=127.0.0.1:5432 --cert … --key … --ca …
  $ ambient hbone connect --via 127.0.0.1:15008 --target 127.0.0.1:5432 --cert … --key … --ca …
`

export function registerHbone(program: Command, context: CommandContext): void {
  const hbone = addCommand(
    program,
    'hbone',
    'tunnels by hand: serve, forward, connect, conformance',
    context,
  ).addHelpText('after', EXAMPLES)
  registerServe(hbone, context)
  registerForward(hbone, context)
  registerHboneConnect(hbone, context)
  registerConformance(hbone, context)
}
