// Two hosts on one wire: what a ztunnel needs, which binds its ports on every address. Root, Linux and iproute2.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'

export const CLIENT_IP = '10.99.0.1'
export const SERVER_IP = '10.99.0.2'

const made = []

/** Why there can be no hosts here; `undefined` when there can. */
export function noHostsReason() {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs root on Linux'
  return existsSync('/sbin/ip') || existsSync('/usr/sbin/ip') ? undefined : 'needs iproute2'
}

/** Prefixes of commands that run on the client and on the server. Removed with all others by `removeHosts`. */
export function makeHosts() {
  const id = `${process.pid % 100000}-${made.length}`
  const hosts = { client: `bench-c${id}`, server: `bench-s${id}` }
  for (const name of Object.values(hosts)) {
    ip('netns', 'add', name)
    made.push(name)
  }
  ip('-n', hosts.client, 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'wire', 'netns', hosts.server)
  bringUp(hosts.client, CLIENT_IP)
  bringUp(hosts.server, SERVER_IP)
  return { client: ['ip', 'netns', 'exec', hosts.client], server: ['ip', 'netns', 'exec', hosts.server] }
}

/** When nothing runs in them any more. */
export function removeHosts() {
  for (const name of made.splice(0)) ip('netns', 'del', name)
}

function bringUp(host, address) {
  ip('-n', host, 'addr', 'add', `${address}/24`, 'dev', 'wire')
  for (const link of ['lo', 'wire']) ip('-n', host, 'link', 'set', link, 'up')
}

function ip(...args) {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] })
}
