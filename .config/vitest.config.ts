import { defineConfig } from 'vitest/config'
import { entries, order, root } from './packages.mjs'

// Tests run against the sources; processes that a test starts are the built ones (the task builds first).
const alias = order
  .flatMap(name => entries(name))
  .map(entry => ({
    find: new RegExp(`^${entry.specifier.replace(/[/.]/g, '\\$&')}$`),
    replacement: entry.source,
  }))

export default defineConfig({
  root,
  resolve: { alias },
  oxc: { target: 'node20' },
  test: {
    environment: 'node',
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    reporters: ['default'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/test/**/*.test.ts', 'test/{repo,interop}/**/*.test.ts'],
          // Files of @ambient/hbone must leave nothing open.
          setupFiles: ['packages/hbone/test/leaks.ts'],
        },
      },
      {
        // Whole meshes of a dozen processes each: one at a time, and after everything that measures time in milliseconds.
        extends: true,
        test: {
          name: 'mesh',
          include: ['test/mesh/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
