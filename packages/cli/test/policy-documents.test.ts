/** What `-f` takes: nothing that somebody meant as a policy is passed over without a word. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from './host.ts'

let folder = ''
const file = async (text: string | Buffer, name = 'policy.yaml'): Promise<string> => {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}
const policy = (apiVersion: string, kind: string): string =>
  `${apiVersion === '' ? '' : `apiVersion: ${apiVersion}\n`}${kind === '' ? '' : `kind: ${kind}\n`}metadata: { name: a, namespace: shop }\nspec: {}\n`

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'policy-documents-'))
})

afterAll(() => rm(folder, { recursive: true }))

describe('what is almost a policy', () => {
  it.each([
    [
      'security.istio.io/v1',
      'AuthorisationPolicy',
      ':2:7: kind: expected one of .*did you mean AuthorizationPolicy',
    ],
    ['security.istio.io/v1', '', ':1:1: the field "kind" is required'],
    ['securty.istio.io/v1', 'AuthorizationPolicy', ':1:13: apiVersion: .*did you mean security.istio.io/v1'],
    ['security.istio.io/v2', 'AuthorizationPolicy', ':1:13: apiVersion: .*did you mean security.istio.io/v1'],
    ['', 'PeerAuthentication', ':1:1: the field "apiVersion" is required'],
    ['', '', ':1:1: expected an object of Kubernetes'],
  ])('%s %s is a mistake', async (apiVersion, kind, message) => {
    const path = await file(policy(apiVersion, kind))
    for (const command of ['explain', 'lint'])
      expect(
        await run('policy', command, '-f', path, ...(command === 'explain' ? ['--to', 'shop/web:80'] : [])),
      ).toEqual({
        code: 2,
        out: '',
        err: expect.stringMatching(new RegExp(`^${path}${message}`)),
      })
  })

  it.each([
    ['a list', '- a\n- b\n'],
    ['a word', 'hello\n'],
    ['UTF-16', Buffer.from(policy('security.istio.io/v1', 'AuthorizationPolicy'), 'utf16le')],
    ['a binary file', Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0x02, 0x01, 0x01, 0x00])],
  ])('%s is a mistake', async (_, text) => {
    const { code, err } = await run('policy', 'lint', '-f', await file(text))
    expect([code, err]).toEqual([2, expect.stringMatching(/^.*policy\.yaml:1:\d: .*expected/)])
  })

  it('what is of other meshes and other tools is passed over', async () => {
    const other = await file(policy('policy.linkerd.io/v1alpha1', 'AuthorizationPolicy'))
    const { code, err } = await run('policy', 'lint', '-f', other)
    expect([code, err]).toEqual([0, expect.stringContaining(`note: no policies in ${other}\n`)])
    const mixed = join(folder, 'mixed')
    await mkdir(mixed)
    await file('{ "name": "app" }', 'mixed/package.json')
    await file('- a\n', 'mixed/values.yaml')
    await file(policy('security.istio.io/v1', 'AuthorizationPolicy'), 'mixed/policy.yaml')
    const found = await run('policy', 'explain', '-f', mixed, '--to', 'shop/web:80')
    expect([found.code, found.err]).toEqual([0, ''])
    expect(found.out).toContain('DENY')
  })
})

const TARGETED = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: readers, namespace: shop }
spec: { targetRefs: [{ kind: Service, group: "", name: web }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { ports: [{ port: 80 }] }
`

it('a waypoint that the files do not have decides nothing, and that is told', async () => {
  const path = await file(TARGETED)
  const call = ['--from', 'ui/app', '--to', 'shop/web:80', '--service', 'shop/web']
  const none = await run('policy', 'explain', '-f', path, ...call, '--method', 'GET')
  expect([none.code, none.out]).toEqual([
    0,
    expect.stringContaining('GET web/ from cluster.local/ns/ui/sa/app to'),
  ])
  expect(none.err).toMatch(/^note: Service shop\/web has no waypoint in these files: .*\n$/)
  expect((await run('policy', 'explain', '-f', path, ...call)).err).toBe('')
})

it('--from that is no identity is a mistake', async () => {
  const { code, err } = await run(
    'policy',
    'explain',
    '-f',
    await file(TARGETED),
    '--from',
    'app',
    '--to',
    'shop/web:80',
  )
  expect([code, err]).toEqual([2, expect.stringContaining('--from "app": expected TRUST-DOMAIN/ns/')])
})

it('a folder without policies is told, and decides as one', async () => {
  const empty = join(folder, 'empty')
  await mkdir(empty)
  const { code, out, err } = await run('policy', 'explain', '-f', empty, '--to', 'shop/web:80')
  expect([code, out, err]).toEqual([0, expect.stringMatching(/^ALLOW/), `note: no policies in ${empty}\n`])
})

it('a document that takes the place of another one is told, with both places', async () => {
  const one = policy('security.istio.io/v1', 'AuthorizationPolicy')
  const path = await file(`${one}---\n${one.replace('spec: {}', 'spec: { rules: [{}] }')}`)
  const { code, err } = await run('policy', 'explain', '-f', path, '--to', 'shop/web:80')
  expect(code).toBe(0)
  expect(err).toContain(
    `${path}:6:1: warning: AuthorizationPolicy shop/a takes the place of the one at ${path}:1:1\n`,
  )
})
