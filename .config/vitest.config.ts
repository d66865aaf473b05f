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
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
    environment: 'node',
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    reporters: ['default'],
  },
})
