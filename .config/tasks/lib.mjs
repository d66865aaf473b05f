// What every task needs: progress on stderr, running a program, a stamp that says what is already done.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../packages.mjs'

export { root }

const MINIMUM_NODE = [20, 19]

export function say(text) {
  process.stderr.write(`${text}\n`)
}

/** One line, non-zero. */
export function die(text, code = 1) {
  say(`ambient: ${text}`)
  process.exit(code)
}

export function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const old = major < MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor < MINIMUM_NODE[1])
  if (old) die(`Node ${MINIMUM_NODE.join('.')} or newer is needed, this is ${process.versions.node}`)
}

/**
 * Runs a program to its end. Output goes through, or is collected when `quiet`.
 * @returns {Promise<{ code: number, output: string }>}
 */
export function run(command, args, { cwd = root, env = process.env, quiet = false, stdin = 'ignore' } = {}) {
  return new Promise(resolve => {
    // npm and npx are shell scripts on Windows.
    const child = spawn(command, args, {
      cwd,
      env,
      shell: process.platform === 'win32',
      stdio: [stdin, quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'],
    })
    let output = ''
    child.stdout?.on('data', chunk => {
      output += chunk
    })
    child.stderr?.on('data', chunk => {
      output += chunk
    })
    const forward = signal => child.kill(signal)
    process.on('SIGINT', forward)
    process.on('SIGTERM', forward)
    const end = code => {
      process.off('SIGINT', forward)
      process.off('SIGTERM', forward)
      resolve({ code, output })
    }
    child.on('error', error => {
      output += error.message
      end(127)
    })
    child.on('close', (code, signal) => end(code ?? (signal === 'SIGINT' ? 130 : 1)))
  })
}

/** Hash over the contents and names of files and folders. */
export function hashOf(paths) {
  const hash = createHash('sha256')
  for (const path of paths) addToHash(hash, path)
  return hash.digest('hex')
}

function addToHash(hash, path) {
  if (!existsSync(path)) return
  if (statSync(path).isDirectory()) {
    for (const name of readdirSync(path).sort()) addToHash(hash, join(path, name))
  } else {
    hash.update(path.slice(root.length)).update(readFileSync(path))
  }
}

export function readStamp(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}

export function writeStamp(file, text) {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
}
