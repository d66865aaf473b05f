// Adds toAllow, toDeny and toBeDecidedBy to Vitest's expect.
import { policyMatchers } from '@ambient/policy/vitest'
import { expect } from 'vitest'

expect.extend(policyMatchers)
