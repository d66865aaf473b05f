// Builds the packages whose sources, settings or workspace dependencies changed, in the order of the arrows.
// `--types` adds the declaration files, which the demo and the tests do without.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { order, workspaceDependencies } from '../packages.mjs'
import { die, hashOf, readStamp, root, run, say, writeStamp } from './lib.mjs'
import { setup } from './setup.mjs'

export async function build({ types = false } = {}) {
  await setup()
  const shared = hashOf([
    join(root, '.config', 'tsup.base.ts'),
    join(root, '.config', 'tsconfig.build.json'),
    join(root, 'tsconfig.json'),
    join(root, 'pnpm-lock.yaml'),
  ])
  const hashes = new Map()
  for (const name of order) {
    const own = ['src', 'package.json', 'tsup.config.ts'].map(part => join(root, 'packages', name, part))
    // Bundles leave workspace packages external, so only declarations depend on theirs.
    const upstream = types ? workspaceDependencies(name).map(dep => hashes.get(dep) ?? '') : []
    const hash = `${shared}:${hashOf(own)}:${upstream.join(':')}`
    hashes.set(name, hash)
    await buildOne(name, hash, types)
  }
}

async function buildOne(name, hash, types) {
  const folder = join(root, 'packages', name)
  const stamp = join(folder, 'dist', types ? '.types' : '.code')
  if (readStamp(stamp) === hash) return
  say(`build: @ambient/${name}${types ? ' with types' : ''}`)
  const env = { ...process.env, AMBIENT_BUILD_TYPES: types ? '1' : '' }
  const { code, output } = await run(
    process.execPath,
    [join(root, 'node_modules', 'tsup', 'dist', 'cli-default.js')],
    { cwd: folder, env, quiet: true },
  )
  if (code !== 0) die(`building @ambient/${name} failed:\n${output}`)
  writeStamp(stamp, hash)
  // A build with types holds the code as well; `clean` removed the other stamp.
  if (types) writeStamp(join(folder, 'dist', '.code'), `${hash.split(':').slice(0, 2).join(':')}:`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  await build({ types: process.argv.includes('--types') })
