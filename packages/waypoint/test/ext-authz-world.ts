/** Real providers of CUSTOM policies: grpc-js and node:http servers on addresses of the mesh, behind a real waypoint. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import {
  type sendUnaryData,
  Server as GrpcServer,
  ServerCredentials,
  type ServerUnaryCall,
} from '@grpc/grpc-js'
import type { Service, Workload } from '@ambient/core'
import { type AuthorizationPolicy, type MeshConfig, parseMeshConfig } from '@ambient/policy'
import { type CheckRequest, CheckRequestSchema, CheckResponseSchema } from '../src/gen/ext_authz_pb.js'
import { webService, workload } from './process-fixtures.ts'
import { cleanup, createWorld, loopbackAddress, type World, type WorldOptions } from './world.ts'

export type Answer = MessageInitShape<typeof CheckResponseSchema>
type Answering = (
  request: CheckRequest,
  call: ServerUnaryCall<CheckRequest, Answer>,
) => Promise<Answer> | Answer

export interface Provider {
  readonly address: string
  readonly port: number
  readonly requests: CheckRequest[]
}

const yes: Answer = { status: { code: 0 } }

/** `envoy.service.auth.v3.Authorization` as grpc-js serves it. An answer that throws is gRPC's INTERNAL. */
export async function grpcProvider(answering: Answering = () => yes): Promise<Provider> {
  const requests: CheckRequest[] = []
  const address = loopbackAddress()
  const server = new GrpcServer()
  server.addService(
    {
      check: {
        path: '/envoy.service.auth.v3.Authorization/Check',
        requestStream: false,
        responseStream: false,
        requestSerialize: (message: CheckRequest) => Buffer.from(toBinary(CheckRequestSchema, message)),
        requestDeserialize: (bytes: Buffer) => fromBinary(CheckRequestSchema, bytes),
        responseSerialize: (message: Answer) =>
          Buffer.from(toBinary(CheckResponseSchema, create(CheckResponseSchema, message))),
        responseDeserialize: (bytes: Buffer) => fromBinary(CheckResponseSchema, bytes),
      },
    },
    {
      check: (call: ServerUnaryCall<CheckRequest, Answer>, done: sendUnaryData<Answer>) => {
        requests.push(call.request)
        Promise.resolve()
          .then(() => answering(call.request, call))
          .then(
            answer => done(null, answer),
            () => done({ code: 13 }),
          )
      },
    },
  )
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`${address}:0`, ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  cleanup(() => server.forceShutdown())
  return { address, port, requests }
}

export interface HttpProvider {
  readonly address: string
  readonly port: number
  readonly requests: { readonly message: IncomingMessage; readonly body: string }[]
}

export async function httpProvider(
  answering: (request: IncomingMessage, response: ServerResponse) => void = (_request, response) =>
    void response.end(),
): Promise<HttpProvider> {
  const requests: HttpProvider['requests'] = []
  const address = loopbackAddress()
  const server: HttpServer = createServer((message, response) => {
    const chunks: Buffer[] = []
    message.on('data', (chunk: Buffer) => chunks.push(chunk))
    message.on('end', () => {
      requests.push({ message, body: String(Buffer.concat(chunks)) })
      answering(message, response)
    })
  })
  server.listen(0, address)
  await once(server, 'listening')
  cleanup(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return { address, port: (server.address() as AddressInfo).port, requests }
}

/** Makes the provider the service `opa` (or another) of the mesh, port 9000; in plaintext unless it has a ztunnel. */
export function join(
  world: World,
  { address, port }: { readonly address: string; readonly port: number },
  of: { readonly name?: string; readonly protocol?: Workload['protocol'] } = {},
): Service {
  const { name = 'opa', protocol = 'TCP' } = of
  const { waypoint: _none, ...plain } = webService(loopbackAddress(), port, undefined)
  const service: Service = {
    ...plain,
    name,
    hostname: `${name}.default.svc.cluster.local`,
    ports: new Map([[9000, port]]),
  }
  const endpoint = workload(name, {
    addresses: [address],
    protocol,
    services: new Map([[`default/${service.hostname}`, service.ports]]),
  })
  world.directory.apply({ workloads: [endpoint], services: [service], remove: [] })
  return service
}

/** A mesh configuration with these providers; `fields` as lines of YAML. */
export function mesh(
  ...providers: readonly {
    readonly kind: 'Grpc' | 'Http'
    readonly name?: string
    readonly host?: string
    readonly fields?: readonly string[]
  }[]
): MeshConfig {
  const items = providers.map(
    ({ kind, name = 'opa', host = `${name}.default.svc.cluster.local`, fields = [] }) =>
      [
        `- name: ${name}`,
        `  envoyExtAuthz${kind}:`,
        `    service: ${host}`,
        '    port: 9000',
        ...fields.map(field => `    ${field}`),
      ].join('\n'),
  )
  return parseMeshConfig(`extensionProviders:\n${items.join('\n')}\n`, 'mesh.yaml')
}

/** A CUSTOM policy of one rule for the service `web`. */
export function custom(
  name = 'ask',
  of: {
    readonly provider?: string
    readonly paths?: readonly string[]
    readonly dryRun?: boolean
    readonly action?: 'CUSTOM' | 'AUDIT' | 'DENY' | 'ALLOW'
    readonly headers?: readonly [name: string, value: string]
  } = {},
): AuthorizationPolicy {
  const { provider = 'opa', paths, dryRun, action = 'CUSTOM', headers } = of
  return {
    kind: 'AuthorizationPolicy',
    metadata: {
      namespace: 'default',
      name,
      labels: {},
      annotations: dryRun === true ? { 'istio.io/dry-run': 'true' } : {},
    },
    spec: {
      targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
      action,
      ...(action === 'CUSTOM' ? { provider: { name: provider } } : {}),
      rules: [
        {
          ...(paths === undefined ? {} : { to: [{ operation: { paths } }] }),
          ...(headers === undefined
            ? {}
            : { when: [{ key: `request.headers[${headers[0]}]`, values: [headers[1]] }] }),
        },
      ],
    },
  }
}

/** The service `web` with one CUSTOM policy, and who is asked. */
export async function asked(
  answering: Answering | undefined,
  options: WorldOptions & { readonly fields?: readonly string[] } = {},
) {
  const provider = await grpcProvider(answering)
  const seen: IncomingMessage[] = []
  const world = await createWorld({
    protocol: 'HTTP11',
    policies: [custom()],
    meshConfig: mesh({ kind: 'Grpc', fields: options.fields ?? [] }),
    app: (request, response) => {
      seen.push(request)
      response.setHeader('x-app', 'yes')
      request.resume().on('end', () => response.end('hello'))
    },
    ...options,
  })
  join(world, provider)
  return { world, provider, seen }
}
