/**
 * Node's own http2 as an independent peer, client and server, as a process that can be killed: ends in either order, our
 * resets as it sees them, its reset (`destroy(error)`, INTERNAL_ERROR), its death. Of resets with other codes Node says
 * END_STREAM first; `packages/hbone/test/truth-wire.test.ts` has those by hand.
 */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { truthOf } from './hbone-truth.ts'

const program = join(dirname(fileURLToPath(import.meta.url)), 'peers', 'node', 'peer.mjs')

truthOf({
  name: 'Node http2',
  missing: undefined,
  command: () => [process.execPath, program],
  resets: { client: [2], server: [2] },
  halfCloses: ['client', 'server'],
  closes: [],
  stops: {},
})
