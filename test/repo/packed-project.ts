/** An empty project with packages of ours installed from their tarballs, as a user has it. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { INSTALL_FLAGS, isNetworkProblem, packInto, strictTypes } from './packed.ts'
import { type Ending, runProgram } from './run-program.ts'
import { root } from './workspace.ts'

export interface PackedProject {
  /** Why there is none; empty when there is. */
  readonly offline: string
  /** `node_modules`. */
  readonly modules: string
  write(file: string, text: string): void
  run(file: string, ...args: readonly string[]): Promise<Ending>
  /** As a strict user compiles them: nothing may be said. */
  compile(files: readonly string[]): Promise<void>
  remove(): void
}

export async function installPacked(
  names: readonly string[],
  { flags = [], also = [], timeoutMs }: InstallOptions,
): Promise<PackedProject> {
  const folder = mkdtempSync(join(tmpdir(), 'ambient-packed-'))
  const project = join(folder, 'project')
  mkdirSync(project)
  const write = (file: string, text: string): void => writeFileSync(join(project, file), `${text}\n`)
  const run = (file: string, ...args: readonly string[]): Promise<Ending> =>
    runProgram(process.execPath, [file, ...args], { cwd: project, timeoutMs: 60_000 })
  const made = {
    modules: join(project, 'node_modules'),
    write,
    run,
    async compile(files: readonly string[]) {
      write('tsconfig.json', JSON.stringify(strictTypes(files, { noEmit: false })))
      const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
      expect(await run(tsc, '-p', 'tsconfig.json')).toEqual({ code: 0, output: '' })
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
  const tarballs = await Promise.all(names.map(name => packInto(join(folder, `tarball-${name}`), name)))
  const files = tarballs.flatMap(tarball => tarball ?? [])
  if (files.length < names.length)
    return { ...made, offline: 'pnpm is not here and the npm registry cannot be reached' }
  write('package.json', JSON.stringify({ private: true }))
  const installed = await runProgram('npm', ['install', ...INSTALL_FLAGS, ...flags, ...files, ...also], {
    cwd: project,
    timeoutMs,
  })
  if (isNetworkProblem(installed)) return { ...made, offline: 'the npm registry cannot be reached' }
  expect(installed).toMatchObject({ code: 0 })
  return { ...made, offline: '' }
}

interface InstallOptions {
  readonly flags?: readonly string[]
  /** What a user installs beside them. */
  readonly also?: readonly string[]
  readonly timeoutMs: number
}

/** Names of the installed packages, however deep. */
export function installedIn(modules: string): readonly string[] {
  return readdirSync(modules, { recursive: true, encoding: 'utf8' })
    .filter(path => /(^|node_modules\/)(@[^/]+\/)?[^/@]+\/package\.json$/.test(path))
    .map(path => path.slice(0, -'/package.json'.length))
    .sort()
}

export function kibOf(path: string): number {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile())
  const bytes = files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0)
  return Math.round(bytes / 1024)
}
