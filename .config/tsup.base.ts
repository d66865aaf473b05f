import { defineConfig, type Options } from 'tsup'
import { entries, root } from './packages.mjs'

/**
 * The one bundler configuration of all packages: ESM and CJS from the same sources, types for both
 * when `AMBIENT_BUILD_TYPES` is set (the demo needs none, and they are most of the time).
 */
export function packageConfig(name: string, extra: Options = {}): ReturnType<typeof defineConfig> {
  const entry = Object.fromEntries(entries(name).map(({ out, source }) => [out, source]))
  return defineConfig({
    entry,
    outDir: `${root}/packages/${name}/dist`,
    format: ['esm', 'cjs'],
    target: 'node20.19',
    platform: 'node',
    splitting: true,
    sourcemap: true,
    clean: true,
    shims: true,
    silent: true,
    dts: process.env['AMBIENT_BUILD_TYPES'] === '1',
    tsconfig: `${root}/.config/tsconfig.build.json`,
    ...extra,
  })
}
