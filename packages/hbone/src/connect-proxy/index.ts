/**
 * HTTP CONNECT in front of HBONE: a local listener for programs that can use an HTTP proxy.
 * @packageDocumentation
 */
export { createConnectProxy } from './listener.ts'
export type { CheckLogin, ProxyFailure, ProxyListener, ProxyListenerOptions } from '../entrance.ts'
export type { ProxyLimits } from '../defaults.ts'
