// Regenerates the protobuf code from the packages' own .proto files. The results are committed; CI compares.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { order } from '../packages.mjs'
import { die, root, run, say } from './lib.mjs'
import { setup } from './setup.mjs'

await setup()
for (const name of order) {
  const folder = join(root, 'packages', name)
  if (!existsSync(join(folder, 'buf.gen.yaml'))) continue
  say(`generate: @ambient/${name}`)
  const env = { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH}` }
  const { code } = await run(
    process.execPath,
    [join(root, 'node_modules', '@bufbuild', 'buf', 'bin', 'buf'), 'generate'],
    { cwd: folder, env },
  )
  if (code !== 0) die(`generating @ambient/${name} failed`)
}
