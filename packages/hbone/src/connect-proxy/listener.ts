/** An HTTP CONNECT listener whose connections are HBONE tunnels. */
import { readFirstBytes } from '@ambient/core/node'
import { createEntrance, type Negotiate, type ProxyListener, type ProxyListenerOptions } from '../entrance.ts'
import { HboneError } from '../errors.ts'
import { askLogin } from '../login.ts'
import { connectProxyError, formatRefusal } from './refusal.ts'
import { parseConnect } from './request.ts'

const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n')

/**
 * A local listener for programs that honour `https_proxy`, `grpc_proxy` and the like: HTTP/1.1 CONNECT, read strictly. Names
 * are not resolved: they are the host of the tunnel's authority. Refusals are JSON that says why and what to do. Half-closes
 * and resets pass both ways.
 * @throws HboneError `AMBIENT_E_HBONE_OPTION`.
 */
export function createConnectProxy(options: ProxyListenerOptions): ProxyListener {
  return createEntrance(options, negotiate)
}

const negotiate: Negotiate = async (socket, { limits, clock, checkLogin }) => {
  const refuse = (error: HboneError): void => {
    if (!socket.destroyed) socket.write(formatRefusal(error))
  }
  try {
    const head = await readFirstBytes(socket, {
      parse: parseConnect(limits.maxRequestBytes),
      clock,
      timeoutMs: limits.requestMs,
      timeoutError: () => connectProxyError(408, `no complete request within ${limits.requestMs} ms`),
      endError: () => connectProxyError(400, 'the client left before its request was complete'),
    })
    if (checkLogin !== undefined) {
      const login = readBasic(head.authorization)
      const question = login && { ...login, socket, clock, timeoutMs: limits.requestMs }
      if (question === undefined || !(await askLogin(checkLogin, question)))
        throw connectProxyError(407, 'this proxy wants a user name and a password')
    }
    return {
      target: head.target,
      accept: () => void socket.write(ESTABLISHED),
      refuse,
    }
  } catch (error) {
    if (error instanceof HboneError) refuse(error)
    throw error
  }
}

/** RFC 7617: base64 of `user:password`. */
function readBasic(authorization = ''): { readonly username: string; readonly password: string } | undefined {
  const [, encoded] = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization) ?? []
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString()
  const colon = text.indexOf(':')
  return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) }
}
