/** The package promises to run in a browser: its sources name nothing of Node. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const source = fileURLToPath(new URL('../src', import.meta.url))
/** Subpaths for programs on Node; nothing else of the package may import them. */
const FOR_NODE = /^(node|vitest|http|express|fastify|hono)\//

it('imports core, jose, yaml and itself, and uses no global of Node', () => {
  for (const name of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts') || FOR_NODE.test(name)) continue
    const text = readFileSync(join(source, name), 'utf8')
    const imported = [...text.matchAll(/from '([^']+)'/g)].map(([, specifier = '']) => specifier)
    const allowed =
      /^(\.{1,2}\/(?!(node|vitest|http|express|fastify|hono)\/).*\.ts|@ambient\/core|jose|yaml)$/
    const foreign = imported.filter(specifier => !allowed.test(specifier))
    expect([name, foreign]).toEqual([name, []])
    expect([name, /\b(Buffer|process|require|setImmediate)\b\s*[.(]/.test(text)]).toEqual([name, false])
  }
})
