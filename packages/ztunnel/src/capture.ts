/**
 * The preload that brings an unchanged Node program into a rootless mesh: `node --import @ambient/ztunnel/capture app.js`
 * (or `--require`). Connections of `net.Socket`, hence of http, fetch and tls, go through the workload's SOCKS5 entrance
 * with names unresolved; servers without an address of their own listen on the workload's. Without the variables it
 * does nothing. Imports nothing but Node, because it comes before the program's own modules.
 *
 * AMBIENT_CAPTURE_PROXY=socks5://USER:PASSWORD@IP:PORT (percent-encoded), AMBIENT_CAPTURE_ADDRESS=IP.
 *
 * It stands between the socket and its `connect` event: the socket really connects to the proxy, and what Node calls
 * `_write`, `_read` and `push` on a socket carry the negotiation before the program sees it as connected.
 */
import net from 'node:net'
import tls from 'node:tls'
import { syncBuiltinESMExports } from 'node:module'

interface Proxy {
  readonly host: string
  readonly port: number
  readonly username: string
  readonly password: string
}

interface Target {
  readonly host: string
  readonly port: number
}

type Callback = () => void

/** What connect and listen are called with, once the many forms are told apart. */
interface ConnectOptions {
  readonly host?: string | null
  readonly port?: number | string
  readonly path?: string | null
  readonly [name: string]: unknown
}

/** The parts of a socket that Node's documentation leaves to implementers of streams. */
interface SocketInternals {
  connecting: boolean
  _write(chunk: Uint8Array, encoding: string, callback: (error?: Error | null) => void): void
  _read(size: number): void
  push(chunk: Uint8Array | null, encoding?: string): boolean
  emit(event: string | symbol, ...args: unknown[]): boolean
}

const ERRORS: Readonly<Record<number, readonly [code: string, text: string]>> = {
  1: ['ECONNRESET', 'the mesh could not make the connection'],
  2: ['EACCES', 'refused by policy'],
  3: ['ENETUNREACH', 'network unreachable'],
  4: ['EHOSTUNREACH', 'unknown or unreachable host'],
  5: ['ECONNREFUSED', 'connection refused'],
  6: ['ETIMEDOUT', 'timed out'],
}

function install(env: Readonly<Record<string, string | undefined>>): void {
  const proxy = readProxy(env['AMBIENT_CAPTURE_PROXY'])
  const address = env['AMBIENT_CAPTURE_ADDRESS']
  if (address !== undefined && net.isIP(address) !== 0) captureListen(address)
  if (proxy !== undefined) captureConnect(proxy, address)
  syncBuiltinESMExports()
}

function readProxy(text: string | undefined): Proxy | undefined {
  if (text === undefined || text === '') return undefined
  // Going on without capture would send in plaintext what was meant for the mesh.
  const unreadable = 'AMBIENT_CAPTURE_PROXY is set, but not to socks5://USER:PASSWORD@IP:PORT'
  if (!URL.canParse(text)) throw new TypeError(unreadable)
  const url = new URL(text)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (!/^socks5h?:$/.test(url.protocol) || net.isIP(host) === 0) throw new TypeError(unreadable)
  return {
    host,
    port: Number(url.port || 1080),
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  }
}

/** Only 127.0.0.0/24 is this machine to the program: the rest of 127/8 are addresses of the mesh. */
function staysLocal(host: string, own: string | undefined): boolean {
  const name = host.toLowerCase()
  if (name === 'localhost' || name.endsWith('.localhost') || name === '::1' || name === own) return true
  if (name.startsWith('::ffff:')) return staysLocal(name.slice('::ffff:'.length), own)
  return /^127\.0\.0\.[0-9]{1,3}$/.test(name) || name === '0.0.0.0' || name === '::'
}

function captureConnect(proxy: Proxy, own: string | undefined): void {
  const original = net.Socket.prototype.connect as (this: net.Socket, ...args: unknown[]) => net.Socket
  const isCaptured = (options: ConnectOptions): boolean =>
    // http sets an unused path to null.
    !options.path &&
    options.port !== undefined &&
    options['fd'] === undefined &&
    !staysLocal(options.host || 'localhost', own) &&
    !(options.host === proxy.host && Number(options.port) === proxy.port)

  const patched = function connect(this: net.Socket, ...args: unknown[]): net.Socket {
    const { options, callback } = readConnectArguments(args)
    if (!isCaptured(options)) return original.apply(this, args)
    if (readsIntoBuffer(this)) {
      const message = 'a socket with `onread` cannot be captured into the mesh; read it with events'
      this.destroy(new TypeError(message))
      return this
    }
    if (callback !== undefined) this.once('connect', callback)
    new Negotiation(this, proxy, { host: String(options.host), port: Number(options.port) }).install()
    return original.call(this, {
      host: proxy.host,
      port: proxy.port,
      ...(own === undefined ? {} : { localAddress: own }),
      ...pick(options, ['keepAlive', 'keepAliveInitialDelay', 'noDelay', 'signal']),
    })
  }
  net.Socket.prototype.connect = patched as typeof net.Socket.prototype.connect

  // TLS would encrypt the negotiation. Over a socket that has no handle yet it works on the stream instead, and waits.
  const originalTls = tls.connect as (...args: unknown[]) => tls.TLSSocket
  const patchedTls = function connect(...args: unknown[]): tls.TLSSocket {
    const { options, callback } = readConnectArguments(args)
    if (options['socket'] !== undefined || !isCaptured(options)) return originalTls(...args)
    const socket = new net.Socket({ allowHalfOpen: options['allowHalfOpen'] === true })
    const secure = originalTls({ ...options, socket }, callback)
    socket.on('error', error => secure.destroy(error))
    secure.on('close', () => socket.destroy())
    socket.connect({ host: String(options.host), port: Number(options.port) })
    return secure
  }
  tls.connect = patchedTls as typeof tls.connect
}

function captureListen(address: string): void {
  const original = net.Server.prototype.listen as (this: net.Server, ...args: unknown[]) => net.Server
  const patched = function listen(this: net.Server, ...args: unknown[]): net.Server {
    const [first] = args
    const callback = args.filter(argument => typeof argument === 'function').at(-1)
    if (isPlainOptions(first)) {
      const { host, path, port } = first
      const elsewhere = path || first['fd'] !== undefined || first['_handle'] !== undefined
      if (elsewhere || (host && !isWildcard(host)) || port === undefined) return original.apply(this, args)
      return original.call(this, { ...first, host: address }, callback)
    }
    const port = first === undefined || typeof first === 'function' ? 0 : toPort(first)
    if (port === undefined) return original.apply(this, args)
    const host = typeof args[1] === 'string' ? args[1] : undefined
    if (host !== undefined && !isWildcard(host)) return original.apply(this, args)
    const backlog = args.slice(1).find(argument => typeof argument === 'number')
    return original.call(
      this,
      { port, host: address, ...(backlog === undefined ? {} : { backlog }) },
      callback,
    )
  }
  net.Server.prototype.listen = patched as typeof net.Server.prototype.listen
}

/** `onread` takes bytes past the stream, and with them the negotiation. The option survives only as a private symbol. */
function readsIntoBuffer(socket: net.Socket): boolean {
  const key = Object.getOwnPropertySymbols(socket).find(symbol => symbol.description === 'kBuffer')
  return key !== undefined && (socket as unknown as Record<symbol, unknown>)[key] != null
}

/** Holds a socket between its TCP connection and its `connect` event, for the length of a SOCKS5 negotiation. */
class Negotiation {
  readonly #socket: net.Socket
  readonly #inner: SocketInternals
  readonly #proxy: Proxy
  readonly #target: Target
  readonly #steps: Step[]
  #held: Uint8Array = new Uint8Array(0)

  constructor(socket: net.Socket, proxy: Proxy, target: Target) {
    this.#socket = socket
    this.#inner = socket as unknown as SocketInternals
    this.#proxy = proxy
    this.#target = target
    this.#steps = negotiationSteps(proxy, target)
  }

  /** Before the socket connects. */
  install(): void {
    this.#inner.emit = (event, ...args) => {
      if (event === 'connect') return this.#begin()
      // Follows `connect` at once, and has to follow ours.
      if (event === 'ready') return true
      return Reflect.apply(net.Socket.prototype.emit, this.#socket, [event, ...args])
    }
    this.#inner.push = chunk => this.#receive(chunk)
  }

  #begin(): boolean {
    this.#inner.connecting = false
    this.#inner._read(0)
    this.#send(greeting(this.#proxy))
    return true
  }

  #receive(chunk: Uint8Array | null): boolean {
    if (chunk === null) {
      this.#fail(1)
      return false
    }
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    for (let step = this.#steps[0]; step !== undefined; step = this.#steps[0]) {
      const result = step.read(this.#held)
      if (result === 'more') return true
      if (typeof result === 'number') {
        this.#fail(result)
        return false
      }
      this.#held = this.#held.subarray(result.length)
      this.#steps.shift()
      if (step.answer !== undefined) this.#send(step.answer)
    }
    return this.#finish()
  }

  #send(bytes: Uint8Array): void {
    // Writes of the program wait for as long as the socket says that it is connecting; ours must not.
    this.#inner.connecting = false
    this.#inner._write(bytes, 'buffer', () => {})
    this.#inner.connecting = true
  }

  #finish(): boolean {
    this.#release()
    this.#inner.connecting = false
    const goesOn = this.#held.length === 0 || this.#inner.push(Buffer.from(this.#held))
    this.#inner.emit('connect')
    this.#inner.emit('ready')
    return goesOn
  }

  #fail(reply: number): void {
    this.#release()
    const { host, port } = this.#target
    const [code, text] = ERRORS[reply] ?? ['ECONNRESET', `SOCKS5 reply ${reply}`]
    const error = new Error(`connect ${code} ${host}:${port} (${text})`)
    this.#socket.destroy(Object.assign(error, { code, syscall: 'connect', address: host, port }))
  }

  /** Back to the methods of the prototype. */
  #release(): void {
    Reflect.deleteProperty(this.#inner, 'emit')
    Reflect.deleteProperty(this.#inner, 'push')
  }
}

interface Step {
  /** `'more'`, a SOCKS5 reply code that ends it, or how many bytes belong to this step. */
  read(bytes: Uint8Array): 'more' | number | { readonly length: number }
  readonly answer?: Uint8Array
}

function greeting(proxy: Proxy): Uint8Array {
  return Uint8Array.from([5, 1, proxy.username === '' ? 0 : 2])
}

function negotiationSteps(proxy: Proxy, target: Target): Step[] {
  const request = formatRequest(target)
  const reply: Step = {
    read: bytes => {
      const kind = bytes[3]
      if (bytes.length < 5) return 'more'
      const length = 6 + (kind === 1 ? 4 : kind === 4 ? 16 : 1 + (bytes[4] ?? 0))
      if (bytes.length < length) return 'more'
      return bytes[1] === 0 ? { length } : (bytes[1] ?? 1)
    },
  }
  const method = (wanted: number, answer: Uint8Array): Step => ({
    read: bytes => (bytes.length < 2 ? 'more' : bytes[1] === wanted ? { length: 2 } : 1),
    answer,
  })
  if (proxy.username === '') return [method(0, request), reply]
  const username = Buffer.from(proxy.username, 'utf8')
  const password = Buffer.from(proxy.password, 'utf8')
  const login = Buffer.concat([
    Buffer.from([1, username.length]),
    username,
    Buffer.from([password.length]),
    password,
  ])
  return [
    method(2, login),
    {
      read: bytes => (bytes.length < 2 ? 'more' : bytes[1] === 0 ? { length: 2 } : 2),
      answer: request,
    },
    reply,
  ]
}

function formatRequest({ host, port }: Target): Uint8Array {
  const tail = Buffer.alloc(2)
  tail.writeUInt16BE(port)
  if (net.isIPv4(host))
    return Buffer.concat([Buffer.from([5, 1, 0, 1, ...host.split('.').map(Number)]), tail])
  // IPv6 goes as a name: the proxy reads literals of both families there.
  const name = Buffer.from(host, 'latin1')
  return Buffer.concat([Buffer.from([5, 1, 0, 3, name.length]), name, tail])
}

/** `(options, cb)`, `(port, host, cb)`, `(path, cb)`, and Node's own already normalized `[options, cb]`. */
function readConnectArguments(args: readonly unknown[]): { options: ConnectOptions; callback?: Callback } {
  const list: readonly unknown[] = Array.isArray(args[0]) ? args[0] : args
  const [first] = list
  const last = list.filter(argument => typeof argument === 'function').at(-1)
  const callback = isCallback(last) ? { callback: last } : {}
  if (isPlainOptions(first)) return { options: first, ...callback }
  const port = toPort(first)
  if (port === undefined) return { options: { path: String(first) }, ...callback }
  const extra = list.find((argument, index) => index > 0 && isPlainOptions(argument))
  return {
    options: {
      ...(isPlainOptions(extra) ? extra : {}),
      port,
      ...(typeof list[1] === 'string' ? { host: list[1] } : {}),
    },
    ...callback,
  }
}

function toPort(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  return typeof value === 'string' && /^[0-9]+$/.test(value) ? Number(value) : undefined
}

function isWildcard(host: string): boolean {
  return host === '' || host === '0.0.0.0' || host === '::' || host === '*'
}

function isCallback(value: unknown): value is Callback {
  return typeof value === 'function'
}

function isPlainOptions(value: unknown): value is ConnectOptions {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function pick(options: ConnectOptions, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    names.filter(name => options[name] !== undefined).map(name => [name, options[name]]),
  )
}

install(process.env)
