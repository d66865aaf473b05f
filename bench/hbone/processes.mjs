// The processes of a run: started, called by name over IPC, watched from outside, ended by their own ids.
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A call that takes longer has hung; the longest one opens 10,000 connections. */
const CALL_MS = 60_000

const running = new Set()

/** @typedef {{ pid: number, call?: (command: string, args?: object) => Promise<any>, end: () => void }} Process */

/** `prefix`: a command that runs another one in its own place. @returns {Process} */
export function start(file, { node = process.execPath, flags = [], prefix = [] } = {}) {
  const path = fileURLToPath(new URL(`./programs/${file}`, import.meta.url))
  const [command, ...args] = [...prefix, node, ...flags, path]
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const waiting = new Map()
  let next = 0
  running.add(child)
  child.on('message', ({ id, result, error }) => {
    const { resolve, reject } = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) resolve(result)
    else reject(new Error(`${file}: ${error}`))
  })
  child.on('exit', (code, signal) => {
    running.delete(child)
    for (const { reject } of waiting.values()) reject(new Error(`${file} ended with ${signal ?? code}`))
    waiting.clear()
  })
  const call = (command, args = {}) =>
    new Promise((resolve, reject) => {
      if (!child.connected) return reject(new Error(`${file} has ended`))
      const id = next++
      const timer = setTimeout(() => reject(new Error(`${file} does not answer ${command}`)), CALL_MS)
      const settle = end => value => {
        clearTimeout(timer)
        end(value)
      }
      waiting.set(id, { resolve: settle(resolve), reject: settle(reject) })
      child.send({ id, command, args })
    })
  return { pid: child.pid, call, end: () => child.kill('SIGKILL') }
}

/**
 * A command that prints a line which matches `sign` when it is ready; without one, when it runs. Warnings about connections that the generator drops
 * are expected, so what it says is shown only when it ends by itself.
 * @returns {Promise<Process & { match: RegExpExecArray | null }>}
 */
export function startCommand([command, ...args], sign, env = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  running.add(child)
  let output = ''
  const end = () => {
    running.delete(child)
    child.kill('SIGKILL')
  }
  return new Promise((resolve, reject) => {
    let isReady = false
    const read = chunk => {
      output = `${output}${chunk}`.slice(-4_000)
      const match = isReady ? undefined : sign?.exec(output)
      if (!match) return
      isReady = true
      resolve({ pid: child.pid, match, end })
    }
    if (sign === undefined) child.once('spawn', () => resolve({ pid: child.pid, match: null, end }))
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.on('exit', code => {
      if (running.delete(child)) process.stderr.write(`${command} ${args[0]} ended with ${code}:\n${output}`)
      reject(new Error(`${command} ${args[0]} ended before it was ready`))
    })
  })
}

export function endAll() {
  const children = [...running]
  running.clear()
  for (const child of children) child.kill('SIGKILL')
}

let ticksPerSecond

/** CPU seconds, user and system, since a process began; `NaN` where there is no /proc. */
export function cpuSeconds(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  } catch {
    return Number.NaN
  }
}

/** Resident memory in MB; `NaN` where there is no /proc. */
export function residentMb(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
  } catch {
    return Number.NaN
  }
}

export function versionOf(node) {
  return execFileSync(node, ['--version'], { encoding: 'utf8' }).trim().slice(1)
}
