/** The package promises to run in a browser: its sources name nothing of Node. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const source = fileURLToPath(new URL('../src', import.meta.url))

it('imports core, yaml and itself, and uses no global of Node', () => {
  for (const name of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue
    const text = readFileSync(join(source, name), 'utf8')
    const imported = [...text.matchAll(/from '([^']+)'/g)].map(([, specifier = '']) => specifier)
    const foreign = imported.filter(specifier => !/^(\.{1,2}\/.*\.ts|@ambient\/core|yaml)$/.test(specifier))
    expect([name, foreign]).toEqual([name, []])
    expect([name, /\b(Buffer|process|require|setImmediate)\b\s*[.(]/.test(text)]).toEqual([name, false])
  }
})
