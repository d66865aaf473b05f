import { describe, expect, it } from 'vitest'
import type { DirectoryChange } from '@ambient/core'
import { createDirectory } from '../src/index.ts'
import { pod, service, workload } from './support/samples.ts'

const WEB = 'shop/web.shop.svc.cluster.local'
const endpoint = (name: string, ip: string, over = {}) =>
  pod(name, ip, { services: new Map([[WEB, new Map([[80, 8080]])]]), ...over })

describe('workloads by address', () => {
  it('are found in their network only, and no longer when gone', () => {
    const directory = createDirectory()
    directory.apply({ workloads: [pod('a', '10.0.0.1', { network: 'n1' })] })
    expect(directory.workloadByAddress('n1', '10.0.0.1')?.name).toBe('a')
    expect(directory.workloadByAddress('', '10.0.0.1')).toBeUndefined()
    directory.apply({ workloads: [pod('a', '10.0.0.2', { network: 'n1' })] })
    expect(directory.workloadByAddress('n1', '10.0.0.1')).toBeUndefined()
    directory.apply({ remove: ['Kubernetes//Pod/shop/a'] })
    expect(directory.workloadByAddress('n1', '10.0.0.2')).toBeUndefined()
    expect(directory.snapshot()).toEqual({ workloads: [], services: [] })
  })

  it('that are shared belong to the best: HBONE pod, pod, HBONE, other; among equals to the last', () => {
    const ip = '10.0.0.1'
    const ranks = [
      workload({ uid: 'c/networking.istio.io/WorkloadEntry/a/b', protocol: 'TCP', addresses: [ip] }),
      workload({ uid: 'c/networking.istio.io/WorkloadEntry/a/c', addresses: [ip] }),
      pod('tcp', ip, { protocol: 'TCP' }),
      pod('hbone-1', ip),
      pod('hbone-2', ip),
    ]
    for (let count = 1; count <= ranks.length; count++) {
      const directory = createDirectory()
      directory.apply({ workloads: ranks.slice(0, count) })
      expect(directory.workloadByAddress('', ip)?.uid).toBe(ranks[count - 1]?.uid)
      // The order does not matter but among equals.
      const reversed = createDirectory()
      reversed.apply({ workloads: ranks.slice(0, Math.min(count, 4)).reverse() })
      expect(reversed.workloadByAddress('', ip)?.uid).toBe(ranks[Math.min(count, 4) - 1]?.uid)
    }
  })

  it('leave the address to the next when the best goes', () => {
    const directory = createDirectory()
    directory.apply({ workloads: [pod('tcp', '10.0.0.1', { protocol: 'TCP' }), pod('hbone', '10.0.0.1')] })
    directory.apply({ remove: ['Kubernetes//Pod/shop/hbone'] })
    expect(directory.workloadByAddress('', '10.0.0.1')?.name).toBe('tcp')
  })

  it('on the host network are not found by it, but they are endpoints', () => {
    const directory = createDirectory()
    directory.apply({
      workloads: [endpoint('host', '10.0.0.1', { networkMode: 'HostNetwork' })],
      services: [service()],
    })
    expect(directory.workloadByAddress('', '10.0.0.1')).toBeUndefined()
    expect(directory.workload('Kubernetes//Pod/shop/host')).toBeDefined()
    expect(directory.endpoints(service())).toHaveLength(1)
  })

  it('are listed by node; without a node, all', () => {
    const directory = createDirectory({ localNode: 'node-b' })
    directory.apply({ workloads: [pod('a', '10.0.0.1'), pod('b', '10.0.0.2', { node: 'node-b' })] })
    const names = (list: readonly { name: string }[]) => list.map(({ name }) => name)
    expect(names(directory.workloadsOnNode('node-a'))).toEqual(['a'])
    expect(names(directory.workloadsOnNode(''))).toEqual(['a', 'b'])
    expect(names(directory.localWorkloads())).toEqual(['b'])
    directory.apply({ workloads: [pod('a', '10.0.0.1', { node: 'node-b' })] })
    expect(names(directory.workloadsOnNode('node-a'))).toEqual([])
    expect(names(directory.localWorkloads())).toEqual(['b', 'a'])
  })
})

describe('services by VIP', () => {
  const vip = (namespace: string, over = {}) =>
    service({ namespace, hostname: `web.${namespace}`, canonical: false, ...over })

  it('that is shared: own namespace, else the last canonical, else the first', () => {
    const directory = createDirectory()
    directory.apply({
      services: [vip('a'), vip('b', { canonical: true }), vip('c', { canonical: true }), vip('d')],
    })
    const found = (from: string) => directory.serviceByVip('', '10.1.0.1', from)?.namespace
    expect(found('d')).toBe('d')
    expect(found('elsewhere')).toBe('c')
    directory.apply({ remove: ['b/web.b', 'c/web.c'] })
    expect(found('elsewhere')).toBe('a')
  })

  it('is not found by those who may not see it; a block may be found behind it', () => {
    const directory = createDirectory()
    const block = vip('wide', { vips: [], cidrVips: [{ network: '', cidr: '10.1.0.0/16' }] })
    directory.apply({ services: [vip('private', { visibility: 'Namespace' }), block] })
    expect(directory.serviceByVip('', '10.1.0.1', 'private')?.namespace).toBe('private')
    expect(directory.serviceByVip('', '10.1.0.1', 'other')?.namespace).toBe('wide')
  })

  it.each([
    ['10.1.2.3', 'other', 'narrow'],
    ['10.1.9.9', 'other', 'wide-canonical'],
    ['10.1.2.3', 'wide', 'wide'],
    ['10.1.9.9', 'wide', 'wide'],
    ['10.2.0.1', 'other', undefined],
    ['fd00::1', 'other', 'six'],
    ['::ffff:a01:203', 'other', 'narrow'],
  ])('in blocks: %s seen from %s is %s', (ip, from, expected) => {
    const cidr = (namespace: string, text: string, over = {}) =>
      vip(namespace, { vips: [], cidrVips: [{ network: '', cidr: text }], ...over })
    const directory = createDirectory()
    directory.apply({
      services: [
        cidr('wide', '10.1.0.0/16'),
        cidr('wide-canonical', '10.1.0.0/16', { canonical: true }),
        cidr('narrow', '10.1.2.0/24'),
        cidr('six', 'fd00::/8'),
        cidr('elsewhere', '10.0.0.0/8', { cidrVips: [{ network: 'n2', cidr: '10.0.0.0/8' }] }),
      ],
    })
    expect(directory.serviceByVip('', ip, from)?.namespace).toBe(expected)
  })

  it('exact wins over any block, and blocks go with their service', () => {
    const directory = createDirectory()
    const block = vip('block', {
      vips: [],
      cidrVips: [
        { network: '', cidr: '10.1.0.1/32' },
        { network: '', cidr: '10.0.0.0/8' },
      ],
    })
    directory.apply({ services: [block, vip('exact')] })
    expect(directory.serviceByVip('', '10.1.0.1', 'block')?.namespace).toBe('exact')
    directory.apply({ remove: ['exact/web.exact', 'block/web.block'] })
    expect(directory.serviceByVip('', '10.1.0.1', 'block')).toBeUndefined()
  })
})

describe('services by host name', () => {
  it('prefer the own namespace, then the canonical one, and respect visibility', () => {
    const directory = createDirectory()
    const host = (namespace: string, over = {}) =>
      service({ namespace, hostname: 'api.example', vips: [], canonical: false, ...over })
    directory.apply({
      services: [
        host('a'),
        host('b', { canonical: true }),
        host('c', { visibility: 'Namespace', canonical: true }),
      ],
    })
    const found = (from: string) => directory.serviceByHostname('api.example', from)?.namespace
    expect([found('a'), found('x'), found('c')]).toEqual(['a', 'b', 'c'])
    expect(directory.serviceByHostname('nobody.example', 'a')).toBeUndefined()
    expect(directory.service('c', 'api.example')?.namespace).toBe('c')
  })
})

describe('endpoints', () => {
  it('do not depend on whether the service or the workload came first', () => {
    for (const order of ['service', 'workload']) {
      const directory = createDirectory()
      const [first, second] = [{ services: [service()] }, { workloads: [endpoint('a', '10.0.0.1')] }]
      directory.apply(order === 'service' ? first : second)
      directory.apply(order === 'service' ? second : first)
      expect(directory.endpoints(service())).toMatchObject([
        { workload: { name: 'a' }, ports: new Map([[80, 8080]]) },
      ])
    }
  })

  it('are healthy ones, unless the service takes all', () => {
    const directory = createDirectory()
    directory.apply({
      services: [service()],
      workloads: [endpoint('a', '10.0.0.1'), endpoint('sick', '10.0.0.2', { status: 'Unhealthy' })],
    })
    const names = () => directory.endpoints(service()).map(({ workload: { name } }) => name)
    expect(names()).toEqual(['a'])
    directory.apply({
      services: [service({ loadBalancer: { ...service().loadBalancer, healthPolicy: 'AllowAll' } })],
    })
    expect(names()).toEqual(['a', 'sick'])
    directory.apply({ services: [service()], workloads: [endpoint('sick', '10.0.0.2')] })
    expect(names()).toEqual(['a', 'sick'])
    directory.apply({ workloads: [endpoint('a', '10.0.0.1', { status: 'Unhealthy' })] })
    expect(names()).toEqual(['sick'])
  })

  it('are none for a service that is not known, and are there again when it comes back', () => {
    const directory = createDirectory()
    directory.apply({ services: [service()], workloads: [endpoint('a', '10.0.0.1')] })
    directory.apply({ remove: [WEB] })
    expect(directory.endpoints(service())).toEqual([])
    directory.apply({ services: [service()] })
    expect(directory.endpoints(service())).toHaveLength(1)
  })

  it('leave with their workload, or when it no longer lists the service', () => {
    const directory = createDirectory()
    directory.apply({
      services: [service()],
      workloads: [endpoint('a', '10.0.0.1'), endpoint('b', '10.0.0.2')],
    })
    directory.apply({ workloads: [pod('a', '10.0.0.1')], remove: ['Kubernetes//Pod/shop/b'] })
    expect(directory.endpoints(service())).toEqual([])
  })
})

describe('a batch', () => {
  it('is told of once, with what changed; unknown names are nothing', () => {
    const directory = createDirectory()
    const changes: DirectoryChange[] = []
    const stop = directory.watch(change => changes.push(change))
    directory.apply({ services: [service()], workloads: [endpoint('a', '10.0.0.1')] })
    directory.apply({ remove: ['nobody', 'no/body', 'shop/x/y'] })
    directory.apply({ remove: [WEB] })
    stop()
    directory.apply({ services: [service()] })
    expect(changes).toEqual([
      { workloads: ['Kubernetes//Pod/shop/a'], services: [WEB] },
      { workloads: [], services: [WEB] },
    ])
  })

  it('leaves out what has no canonical address, and says so', () => {
    const directory = createDirectory()
    const problems = directory.apply({
      workloads: [pod('good', '10.0.0.1'), pod('bad', '010.0.0.2'), workload({ uid: '' })],
      services: [
        service({ vips: [{ network: '', ip: '::FFFF:10.0.0.1' }] }),
        service({ hostname: 'b', vips: [], cidrVips: [{ network: '', cidr: '10/8' }] }),
      ],
    })
    expect(problems.map(({ name }) => name)).toEqual(['Kubernetes//Pod/shop/bad', '', WEB, 'shop/b'])
    expect(directory.snapshot().workloads).toHaveLength(1)
  })

  it('that replaces all removes the rest', () => {
    const directory = createDirectory()
    directory.apply({ services: [service()], workloads: [pod('a', '10.0.0.1'), pod('b', '10.0.0.2')] })
    directory.replace({ workloads: [pod('b', '10.0.0.3')] })
    expect(directory.snapshot()).toMatchObject({
      workloads: [{ name: 'b', addresses: ['10.0.0.3'] }],
      services: [],
    })
    expect(directory.serviceByVip('', '10.1.0.1', 'shop')).toBeUndefined()
  })
})
