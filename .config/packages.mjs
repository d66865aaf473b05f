// The one list of packages, in build order (design: arrows point from right to left).
// Everything that walks the workspace (build, tests, type paths, repository checks) reads it.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

export const order = [
  'core',
  'identity',
  'hbone',
  'policy',
  'discovery',
  'ztunnel',
  'waypoint',
  'mesh',
  'cli',
]

/** The package.json of a package, parsed. */
export function manifest(name) {
  return JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'))
}

/**
 * The source entry of each subpath that a package exports: `dist/NAME.js` comes from `src/NAME.ts`.
 * @returns {{ name: string, specifier: string, source: string, out: string }[]}
 */
export function entries(name) {
  const pkg = manifest(name)
  const found = new Map()
  const add = (specifier, file) => {
    const out = file.replace(/^\.\/dist\//, '').replace(/\.js$/, '')
    found.set(out, { name, specifier, out, source: join(root, 'packages', name, 'src', `${out}.ts`) })
  }
  for (const [path, target] of Object.entries(pkg.exports ?? {})) {
    // Data, not code.
    if (path.endsWith('.json')) continue
    const file = typeof target === 'string' ? target : (target.import?.default ?? target.default)
    add(path === '.' ? pkg.name : `${pkg.name}${path.slice(1)}`, file)
  }
  for (const file of Object.values(pkg.bin ?? {}))
    if (!found.has(file.replace(/^\.?\/?dist\//, '').replace(/\.js$/, '')))
      add(`${pkg.name}/bin`, file.startsWith('./') ? file : `./${file}`)
  return [...found.values()]
}

/** Workspace packages that a package depends on at run time, nearest first. */
export function workspaceDependencies(name) {
  return Object.keys(manifest(name).dependencies ?? {})
    .filter(dep => dep.startsWith('@ambient/'))
    .map(dep => dep.slice('@ambient/'.length))
}
