/** Who listens on a TCP port, as far as Linux's /proc says. */
import { readdir, readFile, readlink } from 'node:fs/promises'
import { canonicalIp } from '@ambient/core'

const LISTEN_STATE = '0A'

/** `node server.js (pid 123)`, or `undefined` where the system does not say. */
export async function describeHolder(address: string, port: number): Promise<string | undefined> {
  const inodes = await listeningInodes(address, port)
  if (inodes.size === 0) return undefined
  const pid = await ownerOf(inodes)
  if (pid === undefined) return undefined
  const command = await commandOf(pid)
  return `${command} (pid ${pid})`
}

/** Sockets that listen on this port, on the address itself or on all. */
async function listeningInodes(address: string, port: number): Promise<Set<string>> {
  const found = new Set<string>()
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6'])
    for (const line of (await readText(table)).split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/)
      const [local, state, inode] = [fields[1] ?? '', fields[3], fields[9]]
      if (state !== LISTEN_STATE || inode === undefined) continue
      const [hexAddress = '', hexPort = ''] = local.split(':')
      if (Number.parseInt(hexPort, 16) === port && matches(hexAddress, address)) found.add(inode)
    }
  return found
}

/** The kernel prints words of the address in host byte order. */
function matches(hex: string, address: string): boolean {
  if (/^0+$/.test(hex)) return true
  const bytes = Buffer.from(hex, 'hex').subarray(-4).reverse()
  return canonicalIp(bytes.join('.')) === canonicalIp(address)
}

async function ownerOf(inodes: ReadonlySet<string>): Promise<number | undefined> {
  const wanted = new Set([...inodes].map(inode => `socket:[${inode}]`))
  for (const pid of (await list('/proc')).filter(name => /^[0-9]+$/.test(name)))
    for (const fd of await list(`/proc/${pid}/fd`)) {
      const link = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')
      if (wanted.has(link)) return Number(pid)
    }
  return undefined
}

async function commandOf(pid: number): Promise<string> {
  const words = (await readText(`/proc/${pid}/cmdline`)).split('\0').filter(word => word !== '')
  const text = words.slice(0, 3).join(' ')
  return text === '' ? 'a process' : text.slice(0, 120)
}

const readText = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '')
const list = (path: string): Promise<string[]> => readdir(path).catch(() => [])
