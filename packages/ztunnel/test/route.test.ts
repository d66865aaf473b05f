/** Where connections go: tables over the pure decision. */
import type { Service, Workload } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { endpointOf, service, standardBalancing, workload } from './fixtures.ts'
import { brief, client, decide, gateway } from './routes.ts'

describe('a destination that nobody knows', () => {
  it('is passed through in plaintext', () => {
    expect(brief(decide('1.2.3.4|443', []))).toEqual({ kind: 'passthrough', to: '1.2.3.4:443' })
  })

  it('includes addresses of another network', () => {
    const remote = workload('remote', { addresses: ['10.1.0.1'], network: 'net2' })
    expect(brief(decide('10.1.0.1|80', [remote]))).toEqual({ kind: 'passthrough', to: '10.1.0.1:80' })
  })

  it('includes host-network workloads by address', () => {
    const host = workload('host', { addresses: ['10.0.0.1'], networkMode: 'HostNetwork' })
    expect(brief(decide('10.0.0.1|80', [host]))).toEqual({ kind: 'passthrough', to: '10.0.0.1:80' })
  })
})

describe('a workload by address', () => {
  const tunnel = {
    kind: 'tunnel',
    via: 'direct',
    to: '10.0.0.1:15008',
    authority: '10.0.0.1:8080',
    expect: ['server'],
  }
  it.each(['local', 'remote'])('is tunnelled to on a %s node, without a local shortcut', node => {
    const server = workload('server', { addresses: ['10.0.0.1'], node })
    expect(brief(decide('10.0.0.1|8080', [server]))).toEqual(tunnel)
  })

  it.each(['local', 'remote'])('outside the mesh is reached by TCP on a %s node', node => {
    const server = workload('server', { addresses: ['10.0.0.1'], node, protocol: 'TCP' })
    expect(brief(decide('10.0.0.1|8080', [server]))).toEqual({
      kind: 'plaintext',
      to: '10.0.0.1:8080',
      upstream: 'server',
    })
  })

  it('keeps the address that was asked for when it has several', () => {
    const server = workload('server', { addresses: ['10.0.0.1', '10.0.0.2', 'fd00::2'] })
    expect(brief(decide('fd00::2|80', [server]))).toMatchObject({
      to: 'fd00::2:15008',
      authority: '[fd00::2]:80',
    })
  })

  it('ignores the waypoint of the client itself', () => {
    const waypoint = workload('wp', { addresses: ['10.0.0.5'] })
    const source = { ...client, waypoint: gateway('10.0.0.5') }
    const server = workload('server', { addresses: ['10.0.0.1'] })
    expect(brief(decide('10.0.0.1|8080', [server, waypoint], [], { source }))).toEqual(tunnel)
  })
})

describe('a service by VIP', () => {
  const web = service('web', '10.10.0.1')
  const pod = workload('web-1', { addresses: ['10.0.0.1'], services: endpointOf(web) })

  it('maps the port and tunnels to an endpoint', () => {
    expect(brief(decide('10.10.0.1|80', [pod], [web]))).toEqual({
      kind: 'tunnel',
      via: 'direct',
      to: '10.0.0.1:15008',
      authority: '10.0.0.1:8080',
      expect: ['web-1'],
    })
  })

  it('lets the endpoint map a named port', () => {
    const named = service('web', '10.10.0.1', { ports: new Map([[80, 0]]) })
    const mapped = workload('web-1', {
      addresses: ['10.0.0.1'],
      services: new Map([['default/web.default.svc.cluster.local', new Map([[80, 9000]])]]),
    })
    expect(brief(decide('10.10.0.1|80', [mapped], [named]))).toMatchObject({ authority: '10.0.0.1:9000' })
    const unmapped = workload('web-1', { addresses: ['10.0.0.1'], services: endpointOf(named) })
    expect(brief(decide('10.10.0.1|80', [unmapped], [named]))).toEqual({
      kind: 'refused',
      reason: 'no healthy upstream: 10.10.0.1:80',
    })
  })

  it('expects the names that the service lets its endpoints prove', () => {
    const named = { ...web, subjectAltNames: ['spiffe://cluster.local/ns/default/sa/other', 'nonsense'] }
    expect(brief(decide('10.10.0.1|80', [pod], [named]))).toMatchObject({ expect: ['web-1', 'other'] })
  })

  it('is refused without endpoints, and on a port that it does not have', () => {
    expect(brief(decide('10.10.0.1|80', [], [web]))).toEqual({
      kind: 'refused',
      reason: 'no healthy upstream: 10.10.0.1:80',
    })
    expect(brief(decide('10.10.0.1|81', [pod], [web]))).toMatchObject({ kind: 'refused' })
  })

  it('in passthrough mode goes where it was asked to', () => {
    const open = { ...web, loadBalancer: { ...standardBalancing, mode: 'Passthrough' as const } }
    expect(brief(decide('10.10.0.1|80', [], [open]))).toEqual({ kind: 'passthrough', to: '10.10.0.1:80' })
  })

  it('chooses by capacity', () => {
    const heavy = workload('web-2', { addresses: ['10.0.0.2'], services: endpointOf(web), capacity: 3 })
    const at = (value: number): unknown =>
      brief(decide('10.10.0.1|80', [pod, heavy], [web], { random: () => value }))['authority']
    const picks = [0, 0.2, 0.3, 0.5, 0.99].map(at)
    expect(new Set(picks)).toEqual(new Set(['10.0.0.1:8080', '10.0.0.2:8080']))
    expect(picks.filter(pick => pick === '10.0.0.2:8080').length).toBeGreaterThan(2)
  })

  it('chooses addresses of the families that it allows', () => {
    const dual = workload('web-1', { addresses: ['fd00::1', '10.0.0.1'], services: endpointOf(web) })
    const of = (families: Service['ipFamilies'], vip: string): unknown =>
      brief(
        decide(`${vip}|80`, [dual], [{ ...web, ipFamilies: families, vips: [{ network: '', ip: vip }] }]),
      )['authority']
    expect(of('Automatic', '10.10.0.1')).toBe('10.0.0.1:8080')
    expect(of('Automatic', 'fd00::10')).toBe('[fd00::1]:8080')
    expect(of('IPv6', '10.10.0.1')).toBe('[fd00::1]:8080')
    expect(of('IPv4', 'fd00::10')).toBe('10.0.0.1:8080')
    expect(of('Dual', '10.10.0.1')).toBe('10.0.0.1:8080')
  })

  it('finds the pod first for the waypoint, the service first for the upstream, where both share an address', () => {
    const shared = workload('shared', { addresses: ['10.10.0.1'] })
    const fronted = { ...web, waypoint: gateway('10.0.0.5') }
    // The pod has no waypoint, so the service's is not used; the service's endpoint is the upstream.
    expect(brief(decide('10.10.0.1|80', [shared, pod], [fronted]))).toMatchObject({
      via: 'direct',
      authority: '10.0.0.1:8080',
    })
  })
})

describe('ranking', () => {
  const balancing = (mode: 'Strict' | 'Failover') => ({
    mode,
    routingPreferences: ['Network', 'Region', 'Zone'] as const,
    healthPolicy: 'OnlyHealthy' as const,
  })
  const at = (region: string, zone: string) => ({ locality: { region, zone, subzone: '' } })

  function picks(mode: 'Strict' | 'Failover', source: Partial<Workload>): string {
    const web = service('web', '10.10.0.1', {
      loadBalancer: balancing(mode),
      vips: [{ network: source.network ?? '', ip: '10.10.0.1' }],
    })
    const services = endpointOf(web)
    const gatewayAddress = gateway('10.0.0.200')
    const all = [
      workload('M', { addresses: ['10.0.0.1'], network: 'net', ...at('reg', 'zone'), services }),
      workload('A', { addresses: ['10.0.0.2'], network: 'net', ...at('reg', 'other'), services }),
      workload('N', { addresses: ['10.0.0.3'], network: 'net', services }),
      workload('O', {
        addresses: ['10.0.0.4'],
        network: 'other',
        ...at('reg', 'zone'),
        services,
        networkGateway: gatewayAddress,
      }),
      workload('E', { network: 'net', ...at('reg', 'zone'), services }),
      workload('eastwest', { addresses: ['10.0.0.200'] }),
    ]
    const found = new Set<string>()
    for (let step = 0; step < 16; step++) {
      const route = decide('10.10.0.1|80', all, [web], {
        source: { ...client, ...source },
        network: source.network ?? '',
        random: () => step / 16,
      })
      if (route.kind === 'tunnel') found.add(route.upstream.name)
      if (route.kind === 'gateway') found.add('O')
      // Another network without a gateway: chosen, and then not reachable.
      if (route.kind === 'refused') found.add(route.reason.replace(/.*\//, ''))
    }
    return [...found].sort().join('')
  }

  it.each([
    ['Failover', 'net', 'reg', 'zone', 'M'],
    ['Failover', 'net', 'reg', '', 'AM'],
    ['Failover', 'net', 'x', 'x', 'AMN'],
    ['Strict', 'net', 'reg', 'zone', 'M'],
  ] as const)('%s from %s/%s/%s goes to %s', (mode, network, region, zone, expected) => {
    expect(picks(mode, { network, ...at(region, zone) })).toBe(expected)
  })

  it('strict finds nobody when a scope differs', () => {
    expect(picks('Strict', { network: 'net', ...at('reg', 'elsewhere') })).toBe(
      'no healthy upstream: 10.10.0.1:80',
    )
  })

  it('another network is passed over, not stopped at', () => {
    const fromOutside = picks('Failover', { network: 'x', ...at('reg', 'zone') })
    expect(fromOutside).toContain('O')
    expect(fromOutside).not.toContain('N')
  })
})

describe('waypoints', () => {
  const waypoint = workload('wp', { addresses: ['10.0.0.5'] })
  const wpService = service('wp', '10.10.0.5', {
    ports: new Map([[15008, 15008]]),
    subjectAltNames: ['spiffe://cluster.local/ns/default/sa/gateway'],
  })
  const wpPod = { ...waypoint, services: endpointOf(wpService) }
  const server = workload('server', { addresses: ['10.0.0.1'], waypoint: gateway('10.0.0.5') })
  const through = {
    kind: 'tunnel',
    via: 'waypoint',
    to: '10.0.0.5:15008',
    authority: '10.0.0.1:8080',
    expect: ['wp'],
  }

  it('of a workload by address, by VIP and by host name, with the original destination as authority', () => {
    expect(brief(decide('10.0.0.1|8080', [server, waypoint]))).toEqual(through)
    const byVip = { ...server, waypoint: gateway('10.10.0.5') }
    expect(brief(decide('10.0.0.1|8080', [byVip, wpPod], [wpService]))).toEqual({
      ...through,
      expect: ['wp', 'gateway'],
    })
    const byName = {
      ...server,
      waypoint: {
        destination: { kind: 'hostname', namespace: 'default', hostname: wpService.hostname },
        hboneMtlsPort: 15008,
      } as const,
    }
    expect(brief(decide('10.0.0.1|8080', [byName, wpPod], [wpService]))).toMatchObject({
      to: '10.0.0.5:15008',
    })
  })

  it('of a service, with the VIP as authority', () => {
    const web = service('web', '10.10.0.1', { waypoint: gateway('10.0.0.5') })
    expect(brief(decide('10.10.0.1|80', [waypoint], [web]))).toEqual({
      ...through,
      authority: '10.10.0.1:80',
    })
  })

  it('a passthrough service uses its waypoint too', () => {
    const web = service('web', '10.10.0.1', {
      waypoint: gateway('10.0.0.5'),
      loadBalancer: { ...standardBalancing, mode: 'Passthrough' },
    })
    expect(brief(decide('10.10.0.1|80', [waypoint], [web]))).toMatchObject({ via: 'waypoint' })
  })

  it('the waypoint itself goes past, if both its identity and its address say so', () => {
    expect(brief(decide('10.0.0.1|8080', [server, waypoint], [], { source: waypoint }))).toMatchObject({
      via: 'direct',
    })
    const elsewhere = { ...waypoint, addresses: ['10.0.0.6'] }
    expect(brief(decide('10.0.0.1|8080', [server, waypoint], [], { source: elsewhere }))).toMatchObject({
      via: 'waypoint',
    })
    const other = { ...waypoint, serviceAccount: 'other' }
    expect(brief(decide('10.0.0.1|8080', [server, waypoint], [], { source: other }))).toMatchObject({
      via: 'waypoint',
    })
  })

  it('service traffic never uses the waypoint of a workload', () => {
    const web = service('web', '10.10.0.1')
    const pod = { ...server, services: endpointOf(web) }
    expect(brief(decide('10.10.0.1|80', [pod, waypoint], [web]))).toMatchObject({ via: 'direct' })
  })

  it('that nobody knows is an error with its name', () => {
    expect(brief(decide('10.0.0.1|8080', [server]))).toEqual({
      kind: 'refused',
      reason: 'unknown waypoint: /10.0.0.5',
    })
  })

  it('are sampled by weight, never at weight 0', () => {
    const [a, b] = [workload('a', { addresses: ['10.0.0.6'] }), workload('b', { addresses: ['10.0.0.7'] })]
    const web = service('web', '10.10.0.1', {
      waypoint: gateway('10.0.0.5'),
      weightedWaypoints: [
        { destination: gateway('10.0.0.6'), weight: 1 },
        { destination: gateway('10.0.0.7'), weight: 0 },
      ],
    })
    const to = (random: number): unknown =>
      brief(decide('10.10.0.1|80', [waypoint, a, b], [web], { random: () => random }))['to']
    expect([to(0), to(0.5), to(0.999)]).toEqual(Array(3).fill('10.0.0.6:15008'))
    const none = { ...web, weightedWaypoints: web.weightedWaypoints.map(one => ({ ...one, weight: 0 })) }
    expect(brief(decide('10.10.0.1|80', [waypoint, a, b], [none]))).toMatchObject({ to: '10.0.0.5:15008' })
  })
})

describe('refusals of our own', () => {
  it.each([15001, 15006, 15008])('a loopback address with port %i is a call to ourselves', port => {
    expect(brief(decide(`127.0.0.1|${port}`, []))).toEqual({
      kind: 'refused',
      reason: 'attempted recursive call to ourselves',
    })
    expect(brief(decide(`10.0.0.77|${port}`, []))).toMatchObject({ kind: 'passthrough' })
  })
})

describe('a source outside the mesh', () => {
  const web = service('web', '10.10.0.1', { waypoint: gateway('10.0.0.5') })
  const more = { plaintextEntrance: 15006 }

  it('reaches a workload inside it at its plaintext entrance, past any waypoint', () => {
    const pod = workload('web-1', { addresses: ['10.0.0.1'], services: endpointOf(web) })
    expect(decide('10.10.0.1|80', [pod], [web], more)).toMatchObject({
      kind: 'plaintext',
      to: { address: '10.0.0.1', port: 15006 },
      announce: { address: '10.0.0.1', port: 8080 },
    })
  })

  it('reaches one outside it directly', () => {
    const pod = workload('web-1', { addresses: ['10.0.0.1'], services: endpointOf(web), protocol: 'TCP' })
    expect(decide('10.10.0.1|80', [pod], [web], more)).toMatchObject({
      kind: 'plaintext',
      to: { address: '10.0.0.1', port: 8080 },
      announce: undefined,
    })
  })
})
