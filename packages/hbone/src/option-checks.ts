/** What callers without types get wrong is said by the name of the option, before anything is opened. */
import { wordsFor } from '@ambient/core'
import { HboneError } from './errors.ts'

/** @throws HboneError `AMBIENT_E_HBONE_OPTION`, unless it is an object of options. */
export function checkOptions(options: unknown): void {
  if (!isObject(options)) throw mismatch('options', 'an object', options)
}

/** @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function checkFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw mismatch(name, 'a function', value)
}

/** As {@link checkFunction}, of what may be absent. */
export function checkOptionalFunction(name: string, value: unknown): void {
  if (value !== undefined) checkFunction(name, value)
}

/** Something to open tunnels with: a pool. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function checkPool(name: string, value: unknown): void {
  if (!isObject(value) || typeof value['connect'] !== 'function')
    throw mismatch(name, 'a pool (createHbonePool() makes one)', value)
}

/** Where a peer listens. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function checkAddress(name: string, value: unknown): void {
  if (!isObject(value) || typeof value['address'] !== 'string' || !isPort(value['port']))
    throw mismatch(name, "{ address: '10.0.0.7', port: 15008 }", value)
}

/** Where we listen. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function checkListen(name: string, value: unknown): void {
  if (!isObject(value) || typeof value['host'] !== 'string' || !isPort(value['port']))
    throw mismatch(name, "{ host: '127.0.0.1', port: 1080 }", value)
}

/** Identities that a peer may have. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function checkExpected(name: string, value: unknown): void {
  if (!Array.isArray(value)) throw mismatch(name, 'an array of SPIFFE IDs', value)
  for (const [index, id] of value.entries())
    if (!isObject(id) || typeof id['uri'] !== 'string')
      throw mismatch(`${name}[${index}]`, 'a SpiffeId (parseSpiffeId() of @ambient/core makes one)', id)
}

/** Fields of a CONNECT. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function checkHeaders(name: string, value: unknown): void {
  if (value !== undefined && !Array.isArray(value)) throw mismatch(name, 'an array of [name, value]', value)
}

/** What every tunnel is asked for with; a few comparisons each. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function checkConnectRequest(request: unknown): void {
  if (!isObject(request)) throw mismatch('request', 'an object', request)
  const { credentials, to, expect, authority, headers } = request
  if (!isObject(credentials) || typeof credentials['verifyPeer'] !== 'function')
    throw mismatch('credentials', 'Credentials (@ambient/identity makes them)', credentials)
  checkAddress('to', to)
  checkExpected('expect', expect)
  if (typeof authority !== 'string') throw mismatch('authority', "a text such as 'db.shop:5432'", authority)
  checkHeaders('headers', headers)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function isPort(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65_535
}

function mismatch(name: string, expected: string, found: unknown): HboneError {
  const message = `${name}: expected ${expected}, found ${wordsFor(found)}`
  return new HboneError('AMBIENT_E_HBONE_OPTION', message, { layer: 'config' })
}
