/**
 * Go's x/net/http2 as an independent peer. As client: everything but reset codes, of which it has CANCEL (an answer
 * that is closed unread), and a connection that is closed right behind an end. As server: our end first, our resets, a handler that panics (INTERNAL_ERROR) or returns unread (RST_STREAM with
 * NO_ERROR behind its end), its death; a Go handler cannot end its direction and go on reading.
 *
 * Needs Go 1.24 or later and, once, the module proxy; GO=path chooses the tool.
 */
import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { truthOf } from './hbone-truth.ts'

const here = join(dirname(fileURLToPath(import.meta.url)), 'peers', 'go')
/** Kept from run to run, never committed. */
const program = join(here, '..', '..', '..', '..', '.cache', 'peers', 'go', 'peer')
const go = process.env['GO'] ?? 'go'

/** Why there is no program, `undefined` when there is. */
function missing(): string | undefined {
  const runs = (...args: string[]): boolean => {
    try {
      execFileSync(go, args, { cwd: here, stdio: 'ignore', timeout: 120_000 })
      return true
    } catch {
      return false
    }
  }
  if (!runs('version')) return `there is no ${go} (GO=path chooses another)`
  return runs('build', '-o', program, '.') ? undefined : 'the Go program could not be built'
}

truthOf({
  name: 'Go x/net/http2',
  missing: missing(),
  command: () => [program],
  resets: { client: [8], server: [2] },
  halfCloses: ['client'],
  closes: [],
  stops: { server: 'send:1000' },
})
