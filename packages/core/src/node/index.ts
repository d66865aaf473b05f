/**
 * The Node parts of core: dialling, listening, channels over sockets and over any Duplex.
 * @packageDocumentation
 */
export { type Dial, dial, type DialOptions, type Listener, listen, type ListenOptions } from './tcp.ts'
export { type Bind, type BindAddress, type Binding, bindPlainly } from './bind.ts'
export {
  followSupervisor,
  type SocketRefusal,
  type SupervisedMessage,
  type SupervisedProcess,
  type Supervisor,
  type SupervisorMessage,
} from './supervised.ts'
export { type FirstBytesOptions, type Parsed, readFirstBytes } from './first-bytes.ts'
export { keepFailedWrites } from './failed-write.ts'
export { peerChain } from './peer-chain.ts'
export { resetSocket } from './reset-socket.ts'
export { proveStaticReads, type ReadBuffer, readInto } from './static-reads.ts'
export { socketChannel } from './socket-channel.ts'
export { duplexChannel } from './duplex-channel.ts'
