import { expect, test } from 'vitest'
import { formatAge } from '../src/table.ts'

test.each([
  [-5, '0s'],
  [119_999, '119s'],
  [120_000, '2m'],
  [192_000, '3m12s'],
  [600_000, '10m'],
  [10_799_000, '179m'],
  [11_520_000, '3h12m'],
  [8 * 3_600_000, '8h'],
  [172_799_000, '47h'],
  [(3 * 24 + 4) * 3_600_000, '3d4h'],
  [9 * 86_400_000, '9d'],
])('an age of %d ms is %s, as kubectl has it', (ageMs, text) => expect(formatAge(ageMs)).toBe(text))
