import { describe, expect, test } from 'vitest'
import { podEnvironment, programOf } from '../src/pods/environment.ts'
import { expandVariables, podName, type PodTemplatePlan, templateHash } from '../src/pods/plan.ts'
import { chooseNode } from '../src/pods/schedule.ts'

const template: PodTemplatePlan = {
  labels: { app: 'shop', version: 'v1' },
  annotations: {},
  serviceAccount: 'shop',
  restart: 'Always',
  graceMs: 1000,
  containers: [{ name: 'shop', argv: ['node', 'shop.mjs'], env: [], ports: [{ port: 80, protocol: 'TCP' }] }],
}

describe('schedule', () => {
  const nodes = ['a', 'b']
  test('like pods spread over the nodes, then all pods do', () => {
    expect(chooseNode(nodes, [], { set: 'x' })).toBe('a')
    expect(chooseNode(nodes, [{ node: 'a', set: 'x' }], { set: 'x' })).toBe('b')
    expect(chooseNode(nodes, [{ node: 'a', set: 'x' }], { set: 'y' })).toBe('b')
    const uneven = [
      { node: 'b', set: 'x' },
      { node: 'a', set: 'y' },
      { node: 'a', set: 'z' },
    ]
    expect(chooseNode(nodes, uneven, { set: 'x' })).toBe('a')
  })

  test('a pod that asks for a node gets it or none', () => {
    expect(chooseNode(nodes, [{ node: 'b', set: 'x' }], { set: 'x', node: 'b' })).toBe('b')
    expect(chooseNode(nodes, [], { set: 'x', node: 'c' })).toBeUndefined()
  })
})

describe('plan', () => {
  test('the hash depends on what the template says, not on how it is written', () => {
    const { labels, ...rest } = template
    expect(templateHash({ ...rest, labels: { version: 'v1', app: 'shop' } })).toBe(
      templateHash({ labels, ...rest }),
    )
    expect(templateHash({ ...template, graceMs: 2000 })).not.toBe(templateHash(template))
  })

  test('pods are named as a ReplicaSet names them', () => {
    const plan = {
      namespace: 'n',
      name: 'shop-v1',
      kind: 'Deployment',
      replicas: 1,
      template,
      hash: 'abc',
    } as const
    expect(podName(plan, () => 0.5)).toMatch(/^shop-v1-abc-[b-z2-9]{5}$/)
    expect(podName({ ...plan, kind: 'Pod' }, Math.random)).toBe('shop-v1')
  })

  test('variables in commands are expanded as Kubernetes does', () => {
    const env = { PORT: '80', 'a.b': 'c' }
    expect(expandVariables('--port=$(PORT) $(a.b) $(NONE) $$(PORT) $PORT', env)).toBe(
      '--port=80 c $(NONE) $(PORT) $PORT',
    )
  })
})

describe('environment', () => {
  const input = {
    name: 'shop-1',
    namespace: 'n',
    address: '127.7.10.1',
    secret: 's:/@',
    capture: 'file:///capture.js',
    execPath: '/opt/node/bin/node',
    base: { NODE_OPTIONS: '--max-old-space-size=64', PATH: '/bin' },
    container: { A: '1', NODE_OPTIONS: '--enable-source-maps' },
  }

  test('a secret survives the form of a URL', () => {
    const env = podEnvironment(input)
    const url = new URL(env['AMBIENT_CAPTURE_PROXY'] ?? '')
    expect(decodeURIComponent(url.username)).toBe('n/shop-1')
    expect(decodeURIComponent(url.password)).toBe('s:/@')
    expect(url.host).toBe('127.7.10.1:15080')
    expect(env['ALL_PROXY']).toBe(env['AMBIENT_CAPTURE_PROXY']?.replace('socks5:', 'socks5h:'))
  })

  test("the user's NODE_OPTIONS stay, from both sides, and the preload is last", () => {
    expect(podEnvironment(input)['NODE_OPTIONS']).toBe(
      '--max-old-space-size=64 --enable-source-maps --import file:///capture.js',
    )
  })

  test('nothing else is inherited', () => {
    expect(Object.keys(podEnvironment({ ...input, base: {}, container: {} })).sort()).toEqual(
      [
        'ALL_PROXY',
        'AMBIENT_CAPTURE_ADDRESS',
        'AMBIENT_CAPTURE_PROXY',
        'HOSTNAME',
        'NODE_OPTIONS',
        'NO_PROXY',
        'PATH',
        'POD_IP',
        'all_proxy',
        'no_proxy',
      ].sort(),
    )
  })

  test('node is the Node.js that runs the mesh', () => {
    expect(programOf(['node', 'a.mjs'], '/x/node')).toEqual(['/x/node', 'a.mjs'])
    expect(programOf(['python3', 'a.py'], '/x/node')).toEqual(['python3', 'a.py'])
  })
})
