/** Who may import whom: the arrows of docs/architecture.md, read from every import and every package.json. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import {
  entries,
  filesUnder,
  importsOf,
  isBuiltin,
  manifest,
  nodesOf,
  order,
  packageNameOf,
  parse,
  positionOf,
  read,
  resolveRelative,
  root,
  shown,
  sourcesOf,
} from './workspace.ts'

const DATA_PLANE = ['core', 'identity', 'hbone', 'policy', 'discovery']

/** Package → the packages that it may import. Siblings never import one another. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  core: [],
  identity: ['core'],
  hbone: ['core'],
  policy: ['core'],
  discovery: ['core', 'policy'],
  ztunnel: DATA_PLANE,
  waypoint: DATA_PLANE,
  mesh: [...DATA_PLANE, 'ztunnel', 'waypoint'],
  cli: [...DATA_PLANE, 'ztunnel', 'waypoint', 'mesh'],
}

const publicNames = new Set(order.flatMap(name => entries(name).map(entry => entry.specifier)))
const sourceOf = new Map(order.flatMap(name => entries(name).map(entry => [entry.specifier, entry.source])))

const isOurs = (specifier: string): boolean => specifier.startsWith('@ambient/')
const isRelative = (specifier: string): boolean => specifier.startsWith('.')
const shortName = (specifier: string): string => packageNameOf(specifier).slice('@ambient/'.length)

describe('arrows between packages', () => {
  it('cover every package', () => expect(Object.keys(ARROWS).sort()).toEqual([...order].sort()))

  for (const name of order) {
    const allowed = ARROWS[name] ?? []
    const imports = sourcesOf(name).flatMap(file =>
      importsOf(file).map(specifier => ({ file: shown(file), specifier })),
    )

    it(`@ambient/${name} imports only ${allowed.join(', ') || 'itself'}, and by public name`, () => {
      const wrong = imports
        .filter(({ specifier }) => isOurs(specifier))
        .filter(({ specifier }) => !allowed.includes(shortName(specifier)) || !publicNames.has(specifier))
      expect(wrong).toEqual([])
    })

    it(`@ambient/${name} stays in its own folder`, () => {
      const folder = join(root, 'packages', name, 'src')
      const wrong = sourcesOf(name).flatMap(file =>
        importsOf(file)
          .filter(isRelative)
          .filter(specifier => !resolveRelative(file, specifier).startsWith(folder))
          // For its own version.
          .filter(specifier => resolveRelative(file, specifier) !== join(folder, '..', 'package.json'))
          .map(specifier => ({ file: shown(file), specifier })),
      )
      expect(wrong).toEqual([])
    })

    it(`@ambient/${name} ships no test kit in its other entries`, () => {
      const wrong = sourcesOf(name)
        .filter(file => !shown(file).startsWith(`packages/${name}/src/testing/`))
        .flatMap(file =>
          importsOf(file)
            .filter(specifier => /^@ambient\/[a-z]+\/testing$|\/testing\/|^vitest/.test(specifier))
            .map(specifier => ({ file: shown(file), specifier })),
        )
      expect(wrong).toEqual([])
    })

    it(`@ambient/${name} declares what it imports, and nothing else`, () => {
      const pkg = manifest(name) as {
        name: string
        dependencies?: Record<string, string>
        devDependencies?: Record<string, string>
        optionalDependencies?: Record<string, string>
        peerDependencies?: Record<string, string>
      }
      // What a user brings has a range of its own; what we test with is the catalog's.
      const tested = Object.keys(pkg.peerDependencies ?? {}).map(peer => [peer, pkg.devDependencies?.[peer]])
      const declared = {
        ...pkg.dependencies,
        ...pkg.optionalDependencies,
        ...(Object.fromEntries(tested) as Record<string, string>),
      }
      const gen = filesUnderGen(name).flatMap(importsOf)
      const used = new Set(
        [...imports.map(entry => entry.specifier), ...gen]
          .filter(specifier => !isRelative(specifier) && !isBuiltin(specifier))
          .map(packageNameOf),
      )
      used.delete(pkg.name)
      // Its `expect.extend` takes our matchers: a range for the user's package manager, and no import.
      if (pkg.peerDependencies?.['vitest'] !== undefined) used.add('vitest')
      // A program of another package is found by its name, not imported.
      const mentioned = sourcesOf(name).flatMap(file => [...nodesOf(parse(file))].filter(ts.isStringLiteral))
      for (const { text } of mentioned) {
        const known = packageNameOf(text)
        if (isOurs(text) && known !== pkg.name && declared[known] !== undefined) used.add(known)
      }
      expect(Object.keys(declared).sort()).toEqual([...used].sort())
      for (const [dependency, range] of Object.entries(declared))
        expect([dependency, range]).toEqual([dependency, isOurs(dependency) ? 'workspace:*' : 'catalog:'])
      const up = Object.keys(declared).filter(isOurs).map(shortName)
      expect(up.filter(dependency => !allowed.includes(dependency))).toEqual([])
    })
  }
})

describe('what is not a package', () => {
  for (const folder of ['examples', 'bench', 'test']) {
    it(`${folder}/ knows packages only by their public names`, () => {
      const wrong = filesUnder(folder).flatMap(file =>
        importsOf(file)
          .filter(specifier =>
            isRelative(specifier)
              ? shown(resolveRelative(file, specifier)).startsWith('packages/')
              : isOurs(specifier) && !publicNames.has(specifier),
          )
          .map(specifier => ({ file: shown(file), specifier })),
      )
      expect(wrong).toEqual([])
    })
  }

  it('tests of a package reach into no other package', () => {
    const wrong = order.flatMap(name =>
      filesUnder(`packages/${name}/test`).flatMap(file =>
        importsOf(file)
          .filter(isRelative)
          .filter(specifier => {
            const target = shown(resolveRelative(file, specifier))
            return target.startsWith('packages/') && !target.startsWith(`packages/${name}/`)
          })
          .map(specifier => ({ file: shown(file), specifier })),
      ),
    )
    expect(wrong).toEqual([])
  })

  it('examples declare the packages that they import', () => {
    const wrong = filesUnder('examples').flatMap(file => {
      const declared = nearestManifest(file)
      return importsOf(file)
        .filter(specifier => !isRelative(specifier) && !isBuiltin(specifier))
        .filter(specifier => declared?.[packageNameOf(specifier)] === undefined)
        .map(specifier => ({ file: shown(file), specifier }))
    })
    expect(wrong).toEqual([])
  })
})

describe('entries that run in a browser', () => {
  for (const entry of ['@ambient/core', '@ambient/policy']) {
    it(`${entry} imports nothing of Node, however far one follows it`, () => {
      const found = [...reachableFrom(sourceOf.get(entry) ?? '')].flatMap(file =>
        importsOf(file)
          .filter(isBuiltin)
          .map(specifier => ({ file: shown(file), specifier })),
      )
      expect(found).toEqual([])
    })

    it(`${entry} uses none of Node's globals`, () => {
      const globals = new Set(['Buffer', 'process', '__dirname', '__filename', 'require', 'setImmediate'])
      const found = [...reachableFrom(sourceOf.get(entry) ?? '')].flatMap(file =>
        [...nodesOf(parse(file))]
          .filter(node => ts.isIdentifier(node) && globals.has(node.text) && isReference(node))
          .map(positionOf),
      )
      expect(found).toEqual([])
    })
  }
})

/** A name that is looked up in scope: no property, no key. */
function isReference(node: ts.Node): boolean {
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node
  return !(
    ts.isPropertySignature(parent) ||
    ts.isPropertyAssignment(parent) ||
    ts.isMethodDeclaration(parent)
  )
}

function reachableFrom(entry: string, seen = new Set<string>()): Set<string> {
  expect(existsSync(entry), `${shown(entry)} exists`).toBe(true)
  seen.add(entry)
  for (const specifier of importsOf(entry)) {
    const file = isRelative(specifier) ? resolveRelative(entry, specifier) : sourceOf.get(specifier)
    if (file !== undefined && !seen.has(file)) reachableFrom(file, seen)
  }
  return seen
}

function filesUnderGen(name: string): string[] {
  const folder = join('packages', name, 'src', 'gen')
  return existsSync(join(root, folder)) ? ts.sys.readDirectory(join(root, folder), ['.ts', '.js']) : []
}

/** Dependencies of the nearest package.json above a file. */
function nearestManifest(file: string): Record<string, string> | undefined {
  let folder = dirname(file)
  while (folder.startsWith(join(root, 'examples')) && !existsSync(join(folder, 'package.json')))
    folder = dirname(folder)
  if (!existsSync(join(folder, 'package.json'))) return undefined
  const pkg = JSON.parse(read(join(folder, 'package.json'))) as { dependencies?: Record<string, string> }
  return pkg.dependencies ?? {}
}
