// Installs what the workspace needs: pnpm through npx at the pinned version, the lockfile as it is, no install scripts.
// Does nothing when the lockfile has not changed since the last install.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { readFileSync } from 'node:fs'
import { checkNode, die, hashOf, readStamp, root, run, say, writeStamp } from './lib.mjs'

const stampFile = join(root, 'node_modules', '.ambient-setup')
const packageManager = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).packageManager

export async function setup() {
  checkNode()
  const wanted = hashOf(
    ['pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json'].map(file => join(root, file)),
  )
  if (readStamp(stampFile) === wanted && existsSync(join(root, 'node_modules', '.modules.yaml'))) return
  say(`setup: installing dependencies with ${packageManager} (frozen lockfile, no install scripts)`)
  const started = Date.now()
  // npm would wait two minutes for a network that is not there.
  const env = {
    ...process.env,
    npm_config_fetch_retries: '1',
    npm_config_fetch_retry_mintimeout: '1000',
    npm_config_fetch_retry_maxtimeout: '5000',
    npm_config_update_notifier: 'false',
    // `npm run -s` would make npm keep the reason to itself.
    npm_config_loglevel: 'warn',
    CI: 'true',
  }
  const { code, output } = await run(
    'npx',
    ['-y', packageManager, 'install', '--frozen-lockfile', '--ignore-scripts', '--reporter=append-only'],
    { quiet: true, env },
  )
  if (code !== 0) die(`dependencies could not be installed: ${reason(output)}`)
  writeStamp(stampFile, wanted)
  say(`setup: done in ${((Date.now() - started) / 1000).toFixed(1)} s`)
}

function reason(output) {
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|ENOTCACHED|ECONNRESET/.test(output)) {
    return 'the npm registry cannot be reached (no network, or a proxy is needed); nothing was installed'
  }
  const line =
    output.split('\n').find(text => /ERR|error/i.test(text)) ??
    output.trim().split('\n').at(-1) ??
    'unknown error'
  return line.replace(/\s+/g, ' ').trim()
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await setup()
