// The command line of the bench.
import { parseArgs } from 'node:util'
import { MEASURES } from './measures.mjs'
import { TRANSPORTS } from './pairs.mjs'

export const HELP = `node bench/hbone.mjs [options]

HBONE beside what it could be built on, two loopback hops each, every proxy a process of its own.

  --node PATH      measure the proxies under this Node as well (repeatable)
  --seconds N      of each measurement (default 0.8)
  --rounds N       of all measurements, in turn (default 3)
  --only LIST      of measures and parts: ${MEASURES.map(({ key }) => key).join(',')},memory
  --pairs LIST     of transports: ${TRANSPORTS.join(',')}
  --tunnels N      idle tunnels of the memory part (default 10000)
  --churn N        tunnels opened and closed in the memory part (default 100000)
  --json FILE      write every figure of every round
  --help

ISTIO_ZTUNNEL=PATH measures that ztunnel and ours as well, each pair on two hosts of its own, by SOCKS5 (root, Linux, iproute2).
`

/** @throws Error with one line that says which option is wrong. */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      node: { type: 'string', multiple: true, default: [] },
      seconds: { type: 'string', default: '0.8' },
      rounds: { type: 'string', default: '3' },
      only: { type: 'string', default: '' },
      pairs: { type: 'string', default: TRANSPORTS.join(',') },
      tunnels: { type: 'string', default: '10000' },
      churn: { type: 'string', default: '100000' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const known = [...MEASURES.map(({ key }) => key), 'memory']
  const only = listOf('only', values.only, known)
  return {
    help: values.help,
    json: values.json,
    nodes: [process.execPath, ...values.node],
    seconds: positive('seconds', values.seconds),
    rounds: positive('rounds', values.rounds),
    tunnels: positive('tunnels', values.tunnels),
    churn: positive('churn', values.churn),
    pairs: listOf('pairs', values.pairs, TRANSPORTS),
    measures: MEASURES.filter(({ key }) => only.length === 0 || only.includes(key)),
    memory: only.length === 0 || only.includes('memory'),
  }
}

function positive(name, text) {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`--${name} must be a number above 0, not ${text}`)
  return value
}

function listOf(name, text, known) {
  const items = text.split(',').filter(item => item !== '')
  const wrong = items.find(item => !known.includes(item))
  if (wrong !== undefined) throw new Error(`--${name}: ${wrong} is none of ${known.join(', ')}`)
  return items
}
