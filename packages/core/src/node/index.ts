/**
 * The Node parts of core: dialling, listening, channels over sockets and over any Duplex.
 * @packageDocumentation
 */
export { type Dial, dial, type DialOptions, type Listener, listen, type ListenOptions } from './tcp.ts'
export { resetSocket } from './reset-socket.ts'
export { socketChannel } from './socket-channel.ts'
export { duplexChannel } from './duplex-channel.ts'
