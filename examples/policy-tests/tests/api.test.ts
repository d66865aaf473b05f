// What the waypoint decides over requests. The policies are the files that are deployed.
import { loadPolicies } from '@ambient/policy/vitest'
import { describe, expect, it } from 'vitest'

const policies = loadPolicies(new URL('../policies', import.meta.url))
const to = 'items.shop:80'
const token = (role: string) => ({ iss: 'https://login.example', sub: 'ada', role })

describe('items', () => {
  it.each(['/items', '/items/7'])('the web reads %s', path => {
    expect(policies).toAllow({ from: 'shop/web', to, method: 'GET', path })
    expect(policies).toAllow({ from: 'shop/web', to, method: 'HEAD', path })
    expect(policies).toDeny({ from: 'other/web', to, method: 'GET', path })
  })

  it('nothing is written without the role of an editor', () => {
    const request = { from: 'shop/admin', to, method: 'DELETE', path: '/items/7' }
    expect(policies).toBeDecidedBy('shop/items-api[rule 1]', { ...request, jwt: token('editor') })
    expect(policies).toAllow({ ...request, method: 'POST', jwt: token('editor') })
    expect(policies).toDeny({ ...request, jwt: token('reader') })
    expect(policies).toDeny(request)
  })

  it('each does only its own', () => {
    expect(policies).toDeny({ from: 'shop/web', to, method: 'POST', path: '/items' })
    expect(policies).toDeny({ from: 'shop/admin', to, method: 'GET', path: '/items', jwt: token('editor') })
  })
})
