/** Each runtime dependency has its line of reason, and every line a dependency. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { manifest, order, read, root } from './workspace.ts'

interface Manifest {
  readonly name: string
  readonly version: string
  readonly license?: string
  readonly private?: boolean
  readonly sideEffects?: unknown
  readonly type?: string
  readonly engines?: { readonly node?: string }
  readonly scripts?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const packages = order.map(name => ({ name, pkg: manifest(name) as unknown as Manifest }))

/** `dependency: package, package` as the manifests have it. */
function declared(): string[] {
  const users = new Map<string, string[]>()
  for (const { name, pkg } of packages)
    for (const dependency of Object.keys({ ...pkg.dependencies, ...pkg.optionalDependencies }))
      if (!dependency.startsWith('@ambient/')) users.set(dependency, [...(users.get(dependency) ?? []), name])
  return [...users].map(([dependency, names]) => `${dependency}: ${[...names].sort().join(', ')}`).sort()
}

function documented(): string[] {
  const folder = join(root, 'docs', 'decisions')
  const file = existsSync(folder)
    ? readdirSync(folder).find(entry => entry.endsWith('-runtime-dependencies.md'))
    : undefined
  expect(file, 'a record of the runtime dependencies in docs/decisions').toBeDefined()
  return [...read(join(folder, file ?? '')).matchAll(/^\| `([^`]+)` \| ([^|]+) \| ([^|]{8,}) \|$/gm)]
    .map(
      ([, dependency, users = '']) =>
        `${dependency}: ${users
          .split(',')
          .map(user => user.trim())
          .sort()
          .join(', ')}`,
    )
    .sort()
}

describe('runtime dependencies', () => {
  it('are those of the record, with the packages that use them and a reason', () => {
    expect(documented()).toEqual(declared())
  })
})

describe('manifests of packages', () => {
  for (const { name, pkg } of packages)
    it(`@ambient/${name} is publishable as it stands`, () => {
      expect(pkg).toMatchObject({
        name: `@ambient/${name}`,
        version: packages[0]?.pkg.version,
        license: 'Apache-2.0',
        type: 'module',
        engines: { node: (JSON.parse(read('package.json')) as Manifest).engines?.node },
      })
      expect(pkg.private).toBeUndefined()
      expect(Object.keys(pkg.scripts ?? {}).filter(script => /install|prepare/.test(script))).toEqual([])
    })
})
