/** Packages as a user gets them: a tarball of what is built, an installation, types as a strict user compiles them. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Ending, runProgram } from './run-program.ts'
import { manifest, read, root } from './workspace.ts'

const { packageManager } = JSON.parse(read('package.json')) as { packageManager: string }
const TIME_LIMIT_MS = 120_000

export const INSTALL_FLAGS = Object.freeze([
  '--ignore-scripts',
  '--no-audit',
  '--no-fund',
  '--prefer-offline',
  '--loglevel=error',
])

/** The path of the tarball; `undefined` when pnpm is not here and cannot be had. */
export async function packInto(destination: string, name: string): Promise<string | undefined> {
  const source = join(root, 'packages', name)
  const { types = 'dist/index.js' } = manifest(name) as { types?: string }
  expect(existsSync(join(source, types)), `@ambient/${name} is built with types (npm run build)`).toBe(true)
  mkdirSync(destination)
  const packed = await runProgram(
    'npx',
    ['--yes', packageManager, 'pack', '--config.ignore-scripts=true', '--pack-destination', destination],
    { cwd: source, timeoutMs: TIME_LIMIT_MS },
  )
  if (isNetworkProblem(packed)) return undefined
  expect(packed).toMatchObject({ code: 0 })
  const file = readdirSync(destination).find(entry => entry.endsWith('.tgz'))
  return file === undefined ? undefined : join(destination, file)
}

export function isNetworkProblem({ code, output }: Ending): boolean {
  return code !== 0 && /ENOTFOUND|EAI_AGAIN|ENETUNREACH|ENOTCACHED|ECONNREFUSED|ETIMEDOUT/.test(output)
}

/** `skipLibCheck` is off: our declarations are compiled as a strict user would, with those of our dependencies. */
export function strictTypes(
  files: readonly string[],
  options: Readonly<Record<string, unknown>> = {},
): object {
  return {
    compilerOptions: {
      target: 'ES2022',
      lib: ['ES2022', 'ESNext.Disposable'],
      module: 'Node16',
      moduleResolution: 'Node16',
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      typeRoots: [join(root, 'node_modules', '@types')],
      types: ['node'],
      ...options,
    },
    files,
  }
}
