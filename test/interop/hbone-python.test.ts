/**
 * Python's h2 as an independent peer, client and server: ends in either order, our resets as it sees them, every reset
 * code as our applications see it, an end followed by a closed connection, its death in mid-transfer.
 *
 * Needs python3 with the package h2; PYTHON=path chooses the interpreter. What is not there is installed into a folder of
 * the tests' own when pip can.
 */
import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Peer, truthOf } from './hbone-truth.ts'

const here = join(dirname(fileURLToPath(import.meta.url)), 'peers', 'python')
/** Kept from run to run, never committed. */
const packages = join(here, '..', '..', '..', '..', '.cache', 'peers', 'python')
const python = process.env['PYTHON'] ?? 'python3'
/** RFC 9113 §7. */
const CODES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]

/** Why there is no h2, `undefined` when there is. */
function missing(): string | undefined {
  const runs = (...args: string[]): boolean => {
    try {
      execFileSync(python, args, {
        env: { ...process.env, PYTHONPATH: packages },
        stdio: 'ignore',
        timeout: 60_000,
      })
      return true
    } catch {
      return false
    }
  }
  if (!runs('--version')) return `there is no ${python}`
  if (runs('-c', 'import h2.connection')) return undefined
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--target', packages]
  if (runs(...install, '-r', join(here, 'requirements.txt')) && runs('-c', 'import h2.connection'))
    return undefined
  return `${python} has no package h2, nor can pip install it`
}

const peer: Peer = {
  name: 'Python h2',
  missing: missing(),
  command: () => ['env', `PYTHONPATH=${packages}`, python, join(here, 'peer.py')],
  resets: { client: CODES, server: [0, 2, 8, 10] },
  halfCloses: ['client', 'server'],
  closes: ['client', 'server'],
  stops: { client: 'send:1000 end reset:0', server: 'send:1000 end reset:0' },
}

truthOf(peer)
