/** A small mesh for tests: a server, a client on the other node, and what they say to each other. */
import type { Execution, ExecResult } from '@ambient/mesh'
import { startTestMesh, type TestMesh } from '@ambient/mesh/testing'

const SERVER = `
import http from 'node:http'
import net from 'node:net'
http.createServer((request, response) => response.end('answer to ' + request.url)).listen(8080)
net.createServer(socket => {
  socket.on('error', () => {})
  socket.write('hello\\n')
  socket.on('data', chunk => socket.write(chunk))
}).listen(7000)
`

/** Runs inside of a pod: one request, the status or the error's code on standard output. */
const GET = `
const http = require('node:http')
const request = http.get(process.argv.at(-1), { agent: false }, response => {
  response.resume()
  response.on('end', () => console.log(response.statusCode))
})
request.on('error', error => console.log(error.code))
`

/** Keeps a connection; echoes what it hears, and says how it ended. */
const HOLD = `
const socket = require('node:net').connect(7000, process.argv.at(-1))
socket.on('data', chunk => process.stdout.write(chunk))
socket.on('error', error => console.log('error ' + error.code))
socket.on('close', () => { console.log('closed'); process.exit() })
process.stdin.on('data', chunk => socket.write(chunk))
`

/** Requests one after the other on so many lanes, until the input ends; then how many there were, and what failed. */
const LOAD = `
const http = require('node:http')
const [lanes, keepAlive] = [Number(process.argv.at(-2)), process.argv.at(-1) === 'keep-alive']
const agent = new http.Agent({ keepAlive, maxSockets: lanes })
let [sent, stopped] = [0, false]
const failed = []
const once = () => new Promise(resolve => {
  sent++
  const request = http.get({ host: 'server', agent }, response => {
    if (response.statusCode !== 200) failed.push(response.statusCode)
    response.resume()
    response.on('end', resolve)
    response.on('error', error => { failed.push('response ' + error.code); resolve() })
  })
  request.on('error', error => { failed.push(error.code ?? error.message); resolve() })
})
const lane = async () => { while (!stopped) { await once(); if (sent === 20) console.log('running') } }
process.stdin.on('end', () => { stopped = true }).resume()
Promise.all(Array.from({ length: lanes }, lane)).then(() => {
  agent.destroy()
  console.log(JSON.stringify({ sent, failed }))
})
`

export function namespace(enrolled: boolean, waypoint?: string): string {
  const labels = {
    ...(enrolled ? { 'istio.io/dataplane-mode': 'ambient' } : {}),
    ...(waypoint === undefined ? {} : { 'istio.io/use-waypoint': waypoint }),
  }
  const metadata = { name: 'shop', labels }
  return JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata })
}

export const waypoint = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: waypoint
  namespace: shop
  labels: { istio.io/waypoint-for: service }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`

export function deployment(
  name: string,
  options: { replicas?: number; env?: string; program?: string } = {},
): string {
  const program = options.program ?? 'setInterval(() => {}, 1000)'
  return `apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: shop }
spec:
  replicas: ${options.replicas ?? 1}
  selector:
    matchLabels: { app: ${name} }
  template:
    metadata:
      labels: { app: ${name} }
    spec:
      serviceAccountName: ${name}
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: none
          command: [node, ${program.endsWith('.mjs') ? program : `-e, ${JSON.stringify(program)}`}]
          env: [{ name: SETTING, value: "${options.env ?? 'one'}" }]
${
  program.endsWith('.mjs')
    ? `          ports: [{ containerPort: 8080 }, { containerPort: 7000 }]
          readinessProbe: { tcpSocket: { port: 7000 } }
`
    : ''
}`
}

export const service = `apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec:
  selector: { app: server }
  ports:
    - { name: http, port: 80, targetPort: 8080 }
    - { name: tcp, port: 7000 }
`

export const policy = (
  action: 'ALLOW' | 'DENY',
  ...accounts: readonly string[]
): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: server-callers, namespace: shop }
spec:
  selector:
    matchLabels: { app: server }
  action: ${action}
  rules:
    - from:
        - source:
            principals: [${accounts.map(account => `cluster.local/ns/shop/sa/${account}`).join(', ')}]
`

/** `server` and `client` are on different nodes: pods spread. */
export function startShop(options: {
  enrolled: boolean
  more?: Readonly<Record<string, string>>
}): Promise<TestMesh> {
  return startTestMesh({
    environment: { PATH: process.env['PATH'] },
    manifests: {
      'server.mjs': SERVER,
      'namespace.yaml': namespace(options.enrolled),
      'a-server.yaml': `${deployment('server', { program: 'server.mjs' })}---\n${service}`,
      'b-client.yaml': deployment('client'),
      ...options.more,
    },
  })
}

/** A status, or the code of an error. */
export async function get(mesh: TestMesh, from: string, url = 'http://server/x'): Promise<string> {
  const result = await run(mesh, from, GET, url)
  return result.stdout.trim()
}

export async function run(
  mesh: TestMesh,
  from: string,
  script: string,
  ...args: string[]
): Promise<ExecResult> {
  return (await mesh.exec(from, ['node', '-e', script, '--', ...args])).result()
}

export interface Held {
  /** Everything heard so far. */
  readonly heard: () => string
  say(text: string): void
  end(): void
  readonly ended: Promise<unknown>
}

/** A connection of `from` to the server's port 7000 that stays open. */
export async function hold(mesh: TestMesh, from: string, host = 'server'): Promise<Held> {
  const execution = await mesh.exec(from, ['node', '-e', HOLD, '--', host], { interactive: true })
  let heard = ''
  execution.stdout.on('data', chunk => {
    heard += String(chunk)
  })
  execution.stderr.resume()
  return {
    heard: () => heard,
    say: text => void execution.stdin?.write(text),
    end: () => execution.kill(),
    ended: execution.exited,
  }
}

export interface Load {
  stop(): Promise<{ readonly sent: number; readonly failed: readonly string[] }>
}

/** Requests of the client; resolves when they flow. */
export async function startLoad(mesh: TestMesh, kind: 'new' | 'keep-alive'): Promise<Load> {
  const execution: Execution = await mesh.exec('client', ['node', '-e', LOAD, '--', '4', kind], {
    interactive: true,
  })
  execution.stderr.resume()
  let output = ''
  await new Promise<void>(resolve =>
    execution.stdout.on('data', chunk => {
      output += String(chunk)
      if (output.includes('running')) resolve()
    }),
  )
  return {
    async stop() {
      execution.stdin?.end()
      await execution.exited
      return JSON.parse(output.slice(output.indexOf('{')))
    },
  }
}
