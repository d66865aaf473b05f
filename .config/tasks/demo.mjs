// `npm run demo`: sets up, builds what changed, tells the story of examples/01-bookinfo. Arguments go through.
import { join } from 'node:path'
import { build } from './build.mjs'
import { root, run } from './lib.mjs'

await build()
const { code } = await run(
  process.execPath,
  [join(root, 'examples', '01-bookinfo', 'demo.mjs'), ...process.argv.slice(2)],
  { stdin: 'inherit' },
)
process.exit(code)
