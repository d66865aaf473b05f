// What ztunnel decides over connections, and a rule for every policy that somebody may add.
import { loadPolicies } from '@ambient/policy/vitest'
import { expect, it } from 'vitest'

const policies = loadPolicies(new URL('../policies', import.meta.url), {
  workloads: {
    'shop/items': { labels: { app: 'items' } },
    'shop/db': { labels: { app: 'db' } },
  },
})

it('only its waypoint reaches the pods of items', () => {
  expect(policies).toAllow({ from: 'shop/waypoint', to: 'shop/items:8080' })
  expect(policies).toBeDecidedBy('none', { from: 'shop/web', to: 'shop/items:8080' })
})

it('only items reaches the database, and only its port', () => {
  expect(policies.decide({ from: 'shop/items', to: 'shop/db:5432' })).toBeDecidedBy('shop/db[rule 0]')
  expect(policies).toDeny({ from: 'shop/items', to: 'shop/db:9187' })
  expect(policies).toDeny({ from: 'shop/web', to: 'shop/db:5432' })
})

it.each(['shop/items:8080', 'shop/db:5432', 'shop/cart:8080'])('plaintext never reaches %s', to => {
  expect(policies).not.toAllow({ from: 'plaintext', to })
})
