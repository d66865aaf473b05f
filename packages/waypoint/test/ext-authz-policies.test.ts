/** Which CUSTOM policies ask whom, and what is denied without asking. */
import { once } from 'node:events'
import { createHboneServer } from '@ambient/hbone'
import { pump } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { describe, expect, it, vi } from 'vitest'
import { custom, grpcProvider, httpProvider, join, mesh } from './ext-authz-world.ts'
import { cleanup, createWorld } from './world.ts'

const no = { status: { code: 7 } } as const
const yes = { status: { code: 0 } } as const

describe('a CUSTOM policy', () => {
  it('asks about what it matches only, and nobody is asked for the rest', async () => {
    const provider = await grpcProvider(() => no)
    const world = await createWorld({
      protocol: 'HTTP11',
      policies: [custom('ask', { paths: ['/admin*'] })],
      meshConfig: mesh({ kind: 'Grpc' }),
    })
    join(world, provider)
    expect([(await world.fetch('/')).status, (await world.fetch('/admin/x')).status]).toEqual([200, 403])
    expect(provider.requests).toHaveLength(1)
    // Another spelling of the same path is the same path.
    expect((await world.fetch('/x/../admin')).status).toBe(403)
    expect(provider.requests[1]?.attributes?.request?.http?.path).toBe('/admin')
  })

  it.each([
    ['that nobody has configured', undefined],
    ['whose service nobody knows', mesh({ kind: 'Grpc', host: 'gone.default.svc.cluster.local' })],
    ['whose service is in two namespaces', mesh({ kind: 'Grpc', host: 'twice.example' })],
  ])('with a provider %s denies what it matches, by the name of its rule', async (_name, meshConfig) => {
    const world = await createWorld({
      protocol: 'HTTP11',
      policies: [custom('ask', { paths: ['/admin'] })],
      meshConfig,
    })
    const twice = { ...world.web, vips: [], name: 'twice', hostname: 'twice.example' }
    world.directory.apply({
      workloads: [],
      services: [
        { ...twice, namespace: 'a' },
        { ...twice, namespace: 'b' },
      ],
      remove: [],
    })
    const answer = await world.fetch('/admin')
    expect([answer.status, answer.body]).toEqual([403, 'RBAC: access denied'])
    expect(await world.line(/"GET \/admin/)).toContain(
      ' 403 - rbac_access_denied_matched_policy[istio-ext-authz-opa-ns[default]-policy[ask]-rule[0]-deny-due-to-bad-CUSTOM-action] ',
    )
    expect((await world.fetch('/')).status).toBe(200)
  })

  it('beside another with another provider denies, until several may be asked', async () => {
    const policies = [custom('a', { provider: 'one' }), custom('b', { provider: 'two' })]
    const meshConfig = mesh({ kind: 'Grpc', name: 'one' }, { kind: 'Http', name: 'two' })
    const alone = await createWorld({ protocol: 'HTTP11', policies, meshConfig })
    expect((await alone.fetch('/')).status).toBe(403)
    expect(alone.requests[0]?.denial?.reason).toContain('different providers (one, two)')

    const first = await grpcProvider(() => ({
      ...yes,
      httpResponse: { case: 'okResponse', value: { headers: [{ header: { key: 'x-one', value: 'yes' } }] } },
    }))
    const second = await httpProvider(
      (request, response) => void response.writeHead(request.headers['x-one'] === 'yes' ? 200 : 403).end(),
    )
    const env = { PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS: 'true' }
    const several = mesh(
      { kind: 'Grpc', name: 'one' },
      { kind: 'Http', name: 'two', fields: ['includeRequestHeadersInCheck: [x-one]'] },
    )
    const world = await createWorld({ protocol: 'HTTP11', policies, meshConfig: several, env })
    join(world, first, { name: 'one' })
    join(world, second, { name: 'two' })
    expect((await world.fetch('/')).status).toBe(200)
    expect([first.requests.length, second.requests.length]).toEqual([1, 1])
  })

  it('in a dry run neither asks nor denies, and is reported', async () => {
    const provider = await grpcProvider(() => no)
    const world = await createWorld({
      protocol: 'HTTP11',
      policies: [custom('try', { dryRun: true })],
      meshConfig: mesh({ kind: 'Grpc' }),
      env: { ACCESS_LOG_ENCODING: 'JSON' },
    })
    join(world, provider)
    expect((await world.fetch('/')).status).toBe(200)
    expect(provider.requests).toEqual([])
    expect(JSON.parse(await world.line(/"method":"GET"/))).toMatchObject({
      response_code: 200,
      dry_run: 'CUSTOM denied default/try',
    })
    expect(world.requests[0]?.dryRun).toEqual([
      { action: 'CUSTOM', result: 'denied', by: { policy: 'default/try', rule: 0 } },
    ])
    expect(await world.metrics()).toMatch(
      /ambient_policy_dry_runs_total\{action="CUSTOM",result="denied",policy="default\/try"\} 1/,
    )
  })

  it('asks a provider of the mesh through its ztunnel, with the waypoint’s own identity', async () => {
    const provider = await grpcProvider(() => no)
    const world = await createWorld({
      protocol: 'HTTP11',
      policies: [custom()],
      meshConfig: mesh({ kind: 'Grpc' }),
    })
    join(world, provider, { protocol: 'HBONE' })
    const own = await world.credentialsOf('opa')
    const peers: string[] = []
    const ztunnel = createHboneServer({
      credentials: () => own,
      onTunnel: async request => {
        peers.push(request.peer.id.uri)
        const [host = '', port = ''] = request.authority.split(':')
        await pump(request.accept(), socketChannel(await dial({ host, port: Number(port) })))
      },
    })
    const listener = await listen({
      host: provider.address,
      port: 15_008,
      onConnection: socket => ztunnel.accept(socket),
    })
    cleanup(async () => {
      await listener.close()
      await ztunnel.close({ graceMs: 0 })
    })
    expect((await world.fetch('/')).status).toBe(403)
    expect(provider.requests).toHaveLength(1)
    expect(peers).toEqual(['spiffe://cluster.local/ns/default/sa/waypoint'])
  })

  it('of a mesh whose configuration changes asks whom it names now', async () => {
    const provider = await grpcProvider(() => yes)
    const world = await createWorld({ protocol: 'HTTP11', policies: [custom()] })
    join(world, provider)
    expect((await world.fetch('/')).status).toBe(403)
    world.store.set({ meshConfig: mesh({ kind: 'Grpc' }) })
    expect((await world.fetch('/')).status).toBe(200)
    world.store.set({ meshConfig: undefined })
    expect((await world.fetch('/')).status).toBe(403)
    expect(provider.requests).toHaveLength(1)
  })

  it('is told to a waypoint alone by MESH_CONFIG', async () => {
    const provider = await grpcProvider(() => yes)
    const MESH_CONFIG =
      'extensionProviders: [{ name: opa, envoyExtAuthzGrpc: { service: opa.default.svc.cluster.local, port: 9000 } }]'
    const world = await createWorld({ protocol: 'HTTP11', policies: [custom()], env: { MESH_CONFIG } })
    join(world, provider)
    expect((await world.fetch('/')).status).toBe(200)
    await expect(createWorld({ env: { MESH_CONFIG: 'extensionProviders: 1' } })).rejects.toThrow(
      /invalid env var MESH_CONFIG=.*MESH_CONFIG:1:21: error: extensionProviders: expected a list/s,
    )
  })
})

describe('requests that are none', () => {
  it.each([
    ['CONNECT', 'CONNECT web:80 HTTP/1.1\r\nhost: web:80\r\n\r\n', /^HTTP\/1.1 404/],
    ['CONNECT without an authority', 'CONNECT / HTTP/1.1\r\nhost: web\r\n\r\n', /^HTTP\/1.1 4\d\d/],
    [
      'a path that is refused',
      'GET /%00 HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n',
      /^HTTP\/1.1 400/,
    ],
    ['OPTIONS *', 'OPTIONS * HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n', /^HTTP\/1.1 403/],
  ])('%s ends the process not, and passes not', async (_name, bytes, answer) => {
    const provider = await grpcProvider(() => no)
    const world = await createWorld({
      protocol: 'HTTP11',
      policies: [custom()],
      meshConfig: mesh({ kind: 'Grpc' }),
    })
    join(world, provider)
    const socket = (await world.tunnel()).socket()
    let text = ''
    socket.on('error', () => {})
    socket.on('data', chunk => {
      text += String(chunk)
    })
    socket.write(bytes)
    await vi.waitFor(() => expect(text).toMatch(answer))
    socket.destroy()
    expect(world.tunnels).toEqual([])
  })
})

describe('an AUDIT policy', () => {
  it('marks what it matches in the log, and changes nothing', async () => {
    const world = await createWorld({
      protocol: 'HTTP11',
      policies: [custom('watch', { action: 'AUDIT', paths: ['/watched'] })],
      env: { ACCESS_LOG_ENCODING: 'JSON' },
    })
    expect([(await world.fetch('/watched')).status, (await world.fetch('/other')).status]).toEqual([200, 200])
    expect(await world.line(/marked by an AUDIT policy/)).toMatch(/default\/watch/)
    expect(world.lines().filter(line => line.includes('marked by an AUDIT policy'))).toHaveLength(1)
    expect(JSON.parse(await world.line(/"path":"\/watched"/))).toMatchObject({ audited: 'default/watch' })
    expect(JSON.parse(await world.line(/"path":"\/other"/))).not.toHaveProperty('audited')
    expect(world.requests.map(({ audited }) => audited)).toEqual([['default/watch'], undefined])
  })
})

describe('a connection without HTTP', () => {
  const echo = (socket: import('node:net').Socket): void => void socket.pipe(socket)

  it('is asked about over gRPC: yes passes, no ends it before anybody is dialled', async () => {
    let code = 0
    const provider = await grpcProvider(() => ({ status: { code } }))
    const world = await createWorld({
      protocol: 'TCP',
      tcp: echo,
      policies: [custom()],
      meshConfig: mesh({ kind: 'Grpc' }),
    })
    join(world, provider)
    const socket = (await world.tunnel()).socket()
    socket.write('hi')
    expect(String((await once(socket, 'data'))[0])).toBe('hi')
    socket.destroy()
    expect(provider.requests[0]?.attributes).toMatchObject({
      source: { principal: 'spiffe://cluster.local/ns/default/sa/client' },
    })
    expect(provider.requests[0]?.attributes?.request).toBeUndefined()
    code = 7
    await expect(world.tunnel()).rejects.toThrow(/401/)
    expect(await world.line(/ext_authz_denied/)).toMatch(/ 0 UAEX - ext_authz_denied /)
    expect(world.tunnels).toHaveLength(1)
  })

  it.each([
    ['refused', [], false],
    ['passed on, where that is configured', ['failOpen: true'], true],
  ])('whose provider fails is %s', async (_name, fields, passes) => {
    const provider = await grpcProvider(() => Promise.reject(new Error('no')))
    const world = await createWorld({
      protocol: 'TCP',
      tcp: echo,
      policies: [custom()],
      meshConfig: mesh({ kind: 'Grpc', fields }),
    })
    join(world, provider)
    const tunnel = world.tunnel()
    if (!passes) return void (await expect(tunnel).rejects.toThrow(/401/))
    const socket = (await tunnel).socket()
    socket.write('hi')
    expect(String((await once(socket, 'data'))[0])).toBe('hi')
    socket.destroy()
  })

  it('is no matter of an HTTP provider, as upstream has it', async () => {
    const provider = await httpProvider((_request, response) => void response.writeHead(403).end())
    const world = await createWorld({
      protocol: 'TCP',
      tcp: echo,
      policies: [custom()],
      meshConfig: mesh({ kind: 'Http' }),
    })
    join(world, provider)
    const socket = (await world.tunnel()).socket()
    socket.write('hi')
    expect(String((await once(socket, 'data'))[0])).toBe('hi')
    socket.destroy()
    expect(provider.requests).toEqual([])
  })

  it('that lives is cut when a policy comes to ask a provider whom nobody has asked', async () => {
    const provider = await grpcProvider(() => yes)
    const world = await createWorld({
      protocol: 'TCP',
      tcp: echo,
      policies: [custom('ask', { provider: 'opa' })],
      meshConfig: mesh(
        { kind: 'Grpc' },
        { kind: 'Grpc', name: 'other', host: 'opa.default.svc.cluster.local' },
      ),
    })
    join(world, provider)
    const socket = (await world.tunnel()).socket()
    socket.on('error', () => {})
    socket.write('hi')
    await once(socket, 'data')
    world.store.set({ authorizationPolicies: [custom('renamed', { provider: 'opa' })] })
    socket.write('ho')
    expect(String((await once(socket, 'data'))[0])).toBe('ho')
    const closed = new Promise(resolve => socket.once('close', resolve))
    world.store.set({ authorizationPolicies: [custom('ask', { provider: 'other' })] })
    await closed
    expect(await world.line(/has not been asked/)).toMatch(/default\/ask/)
  })
})
