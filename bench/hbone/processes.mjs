// The processes of a run: started, called by name over IPC, watched from outside, ended by their own ids.
import { execFileSync, fork, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A call that takes longer has hung; the longest one opens 10,000 connections. */
const CALL_MS = 60_000

const running = new Set()

/** @typedef {{ pid: number, call?: (command: string, args?: object) => Promise<any>, end: () => void }} Process */

/** @returns {Process} */
export function start(file, { node = process.execPath, flags = [] } = {}) {
  const path = fileURLToPath(new URL(`./programs/${file}`, import.meta.url))
  const child = fork(path, [], {
    execPath: node,
    execArgv: flags,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
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
 * A command that prints `listening HOST:PORT` when it is ready. Warnings about connections that the generator drops are
 * expected, so its standard error is shown only when it ends by itself.
 * @returns {Promise<Process & { port: number }>}
 */
export function startCommand(node, args) {
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  let output = ''
  let errors = ''
  child.stderr.on('data', chunk => {
    errors = `${errors}${chunk}`.slice(-4_000)
  })
  const end = () => {
    running.delete(child)
    child.kill('SIGKILL')
  }
  return new Promise((resolve, reject) => {
    child.stdout.on('data', chunk => {
      output += chunk
      const port = Number(/^listening \S+:(\d+)$/m.exec(output)?.[1])
      if (port > 0) resolve({ pid: child.pid, port, end })
    })
    child.on('exit', code => {
      if (running.delete(child))
        process.stderr.write(`${args.slice(0, 3).join(' ')} ended with ${code}:\n${errors}`)
      reject(new Error(`${args.slice(0, 3).join(' ')} ended before it was ready`))
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
