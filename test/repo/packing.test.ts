/** Each package, packed and installed alone into an empty project, loads as ESM and CJS and has types for both. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { workspaceDependencies } from '../../.config/packages.mjs'
import { INSTALL_FLAGS, isNetworkProblem, packInto, strictTypes } from './packed.ts'
import { type Ending, runProgram } from './run-program.ts'
import { manifest, order, root } from './workspace.ts'

const TIME_LIMIT_MS = 120_000

/** As many as a small machine has cores. */
const slots = createSlots(2)

let folder: string
/** Package → tarball. */
const tarballs = new Map<string, string>()
let offline: string | undefined

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ambient-pack-'))
  await Promise.all(order.map(pack))
}, TIME_LIMIT_MS)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('packed packages', () => {
  for (const name of order) {
    it.concurrent(
      `@ambient/${name} works when installed alone`,
      async context => {
        context.skip(offline !== undefined, offline ?? '')
        const project = join(folder, `project-${name}`)
        mkdirSync(project)
        const installed = await install(project, name)
        context.skip(isNetworkProblem(installed), 'the npm registry cannot be reached')
        expect(installed).toMatchObject({ code: 0 })
        checkContents(project, name)
        await checkModules(project, name)
        const brought = await installPeers(project, name)
        context.skip(isNetworkProblem(brought), 'the npm registry cannot be reached')
        expect(brought).toMatchObject({ code: 0 })
        await checkTypes(project, name)
        await checkPrograms(project, name)
      },
      TIME_LIMIT_MS,
    )
  }
})

async function pack(name: string): Promise<void> {
  const give = await slots.take()
  const file = await packInto(join(folder, `tarball-${name}`), name).finally(give)
  if (file === undefined) offline = 'pnpm is not here and the npm registry cannot be reached'
  else tarballs.set(name, file)
}

/** The package by its tarball, and what it needs of the workspace too, since none of it is published here. */
function install(project: string, name: string): Promise<Ending> {
  const file = (of: string): string => `file:${tarballs.get(of)}`
  const needed = [...closureOf(name)].filter(other => other !== name)
  const pkg = {
    private: true,
    dependencies: { [`@ambient/${name}`]: file(name) },
    overrides: Object.fromEntries(needed.map(other => [`@ambient/${other}`, file(other)])),
  }
  writeFileSync(join(project, 'package.json'), JSON.stringify(pkg))
  return runProgram('npm', ['install', ...INSTALL_FLAGS], { cwd: project, timeoutMs: TIME_LIMIT_MS })
}

/** What a user of some subpaths brings: their types are in the declarations, their code is loaded when it is used. */
function installPeers(project: string, name: string): Promise<Ending> | Ending {
  const { peerDependencies = {}, devDependencies = {} } = manifest(name) as Needed
  const wanted = Object.entries(peerDependencies).map(([peer, range]) => `${peer}@${range}`)
  // Who compiles with a peer that has no types of its own has these.
  wanted.push(
    ...Object.keys(peerDependencies)
      .map(typesOf)
      .filter(types => types in devDependencies),
  )
  if (wanted.length === 0) return { code: 0, output: '' }
  return runProgram('npm', ['install', ...INSTALL_FLAGS, ...wanted], {
    cwd: project,
    timeoutMs: TIME_LIMIT_MS,
  })
}

interface Needed {
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

function typesOf(name: string): string {
  return `@types/${name}`
}

function closureOf(name: string, seen = new Set<string>()): Set<string> {
  seen.add(name)
  for (const next of workspaceDependencies(name)) if (!seen.has(next)) closureOf(next, seen)
  return seen
}

/** What a user gets: no workspace protocol, no sources outside dist, schemas where there are some, licence and README. */
function checkContents(project: string, name: string): void {
  const own = join(project, 'node_modules', '@ambient', name)
  expect(readFileSync(join(own, 'package.json'), 'utf8')).not.toMatch(/"(workspace|catalog):/)
  expect(
    readdirSync(own)
      .filter(entry => entry !== 'node_modules')
      .sort(),
  ).toEqual(
    ['LICENSE', 'README.md', 'dist', 'package.json', ...(name === 'policy' ? ['schemas'] : [])].sort(),
  )
  expect(readdirSync(join(own, 'dist')).filter(entry => entry.startsWith('.'))).toEqual([])
}

interface Exported {
  readonly exports?: Readonly<Record<string, unknown>>
  readonly bin?: Readonly<Record<string, string>>
}

function specifiersOf(name: string): readonly string[] {
  const { exports = {} } = manifest(name) as Exported
  const paths = Object.keys(exports).filter(path => !path.endsWith('.json'))
  return paths.map(path => `@ambient/${name}${path.slice(1)}`)
}

/** Every subpath loads in both module systems, with the same names. */
async function checkModules(project: string, name: string): Promise<void> {
  const specifiers = specifiersOf(name)
  if (specifiers.length === 0) return
  const list = JSON.stringify(specifiers)
  const compare = `for (const [i, name] of names.entries())
    console.log(name, Object.keys(modules[i]).filter(key => !['default', '__esModule', 'module.exports'].includes(key)).sort().join())`
  write(
    project,
    'load.mjs',
    `const names = ${list}\nconst modules = await Promise.all(names.map(n => import(n)))\n${compare}`,
  )
  write(project, 'load.cjs', `const names = ${list}\nconst modules = names.map(n => require(n))\n${compare}`)
  const run = (file: string): Promise<Ending> =>
    runProgram(process.execPath, [file], { cwd: project, timeoutMs: 30_000 })
  const [esm, cjs] = await Promise.all([run('load.mjs'), run('load.cjs')])
  expect(esm).toMatchObject({ code: 0 })
  expect(cjs).toEqual(esm)
}

/** Every subpath type-checks from both module systems. */
async function checkTypes(project: string, name: string): Promise<void> {
  const specifiers = specifiersOf(name)
  if (specifiers.length === 0) return
  const imports = specifiers.map(
    (specifier, i) => `import * as m${i} from '${specifier}'\nexport const n${i} = m${i}`,
  )
  write(project, 'types.mts', imports.join('\n'))
  write(project, 'types.cts', imports.join('\n'))
  write(project, 'tsconfig.json', JSON.stringify(strictTypes(['types.mts', 'types.cts'])))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const typed = await runProgram(process.execPath, [tsc, '-p', 'tsconfig.json'], {
    cwd: project,
    timeoutMs: 60_000,
  })
  expect(typed).toEqual({ code: 0, output: '' })
}

/** A program says its version. */
async function checkPrograms(project: string, name: string): Promise<void> {
  const { bin = {} } = manifest(name) as Exported
  for (const program of Object.keys(bin)) {
    const path = join(project, 'node_modules', '.bin', program)
    const ending = await runProgram(process.execPath, [path, 'version'], { cwd: project, timeoutMs: 30_000 })
    expect(ending).toEqual({ code: 0, output: expect.stringMatching(/\d+\.\d+\.\d+/) })
  }
}

function write(project: string, file: string, text: string): void {
  writeFileSync(join(project, file), `${text}\n`)
}

/** At most so many at a time; `take` gives the function that gives the slot back. */
function createSlots(count: number): { take(): Promise<() => void> } {
  const waiting: (() => void)[] = []
  let free = count
  const give = (): void => {
    const next = waiting.shift()
    if (next === undefined) free++
    else next()
  }
  return {
    async take() {
      if (free > 0) free--
      else await new Promise<void>(resolve => waiting.push(resolve))
      return give
    },
  }
}
