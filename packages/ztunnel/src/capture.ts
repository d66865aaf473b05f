/**
 * The preload that brings an unchanged Node program into a rootless mesh: `node --import @ambient/ztunnel/capture app.js`
 * (or `--require`). Connections of `net.Socket`, hence of http, fetch and tls, go through the workload's SOCKS5 entrance
 * with names unresolved; servers without an address of their own listen on the workload's. Programs that resolve names
 * first (grpc-js) are given stand-in addresses. Without the variables it does nothing. Imports nothing but Node, because it comes before the program's own modules.
 * Why so long: a preload is one file; nothing of ours may be loaded before the program's own modules.
 *
 * AMBIENT_CAPTURE_PROXY=socks5://USER:PASSWORD@IP:PORT (percent-encoded), AMBIENT_CAPTURE_ADDRESS=IP.
 *
 * It stands between the socket and its `connect` event: the socket really connects to the proxy, and what Node calls
 * `_write`, `_read` and `push` on a socket carry the negotiation before the program sees it as connected.
 */
import dns from 'node:dns'
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
  if (proxy !== undefined) {
    captureLookup(address)
    captureConnect(proxy, address)
  }
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
    const host = standIns.nameOf(String(options.host)) ?? String(options.host)
    new Negotiation(this, proxy, { host, port: Number(options.port) }).install()
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

/**
 * Only the mesh knows its names, so a program that asks gets a stand-in for each, of the range that Istio allocates from;
 * connecting to it sends the name. What is not of the mesh fails when it is connected to, as any captured name does.
 */
const standIns = {
  addresses: new Map<string, string>(),
  names: new Map<string, string>(),
  next: 0,
  addressOf(name: string): string {
    const known = this.addresses.get(name)
    if (known !== undefined) return known
    // 65,536 names are more than a program has; beyond them the oldest are taken again, and forgotten.
    const index = this.next++ & 0xffff
    const address = `240.240.${index >> 8}.${index & 0xff}`
    const forgotten = this.names.get(address)
    if (forgotten !== undefined) this.addresses.delete(forgotten)
    this.addresses.set(name, address)
    this.names.set(address, name)
    return address
  },
  nameOf(address: string): string | undefined {
    return this.names.get(address)
  },
}

function captureLookup(own: string | undefined): void {
  const isCaptured = (name: unknown, options: unknown): name is string =>
    typeof name === 'string' &&
    name !== '' &&
    net.isIP(name) === 0 &&
    !staysLocal(name, own) &&
    familyOf(options) !== 6
  const answer = (name: string, options: unknown) => {
    const found = { address: standIns.addressOf(name), family: 4 }
    return isPlainOptions(options) && options['all'] === true ? [found] : found
  }
  const { lookup, promises } = dns
  const { lookup: lookupAsync } = promises
  Reflect.set(dns, 'lookup', (name: unknown, ...rest: unknown[]) => {
    const callback = rest.at(-1)
    if (!isCaptured(name, rest[0]) || typeof callback !== 'function')
      return Reflect.apply(lookup, dns, [name, ...rest])
    const found = answer(name, rest[0])
    process.nextTick(() =>
      Array.isArray(found) ? callback(null, found) : callback(null, found.address, found.family),
    )
    return {}
  })
  Reflect.set(promises, 'lookup', (name: unknown, options?: unknown) =>
    isCaptured(name, options)
      ? Promise.resolve(answer(name, options))
      : Reflect.apply(lookupAsync, promises, [name, options]),
  )
}

/** `lookup(name, 6)`, `{ family: 6 }`, `{ family: 'IPv6' }` */
function familyOf(options: unknown): number {
  const family = isPlainOptions(options) ? options['family'] : options
  return family === 6 || family === 'IPv6' ? 6 : 4
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
