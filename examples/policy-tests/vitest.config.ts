import { policyCoverage } from '@ambient/policy/vitest'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/*.test.ts'],
    setupFiles: ['tests/setup.ts'],
    reporters: [
      'default',
      policyCoverage({ include: ['policies'], reports: ['text', 'lcov'], threshold: 100 }),
    ],
  },
})
