/** The error base: codes to switch on, causes kept, recognised across copies of a package. */
import { AmbientError, CoreError, isAmbientError, messageOf } from '@ambient/core'
import { describe, expect, it } from 'vitest'

describe('AmbientError', () => {
  it('carries code, layer, cause and the name of its class', () => {
    const cause = new Error('ECONNREFUSED')
    const error = new CoreError('AMBIENT_E_CONNECT_FAILED', 'connecting failed', { cause, layer: 'tcp' })
    expect(error).toBeInstanceOf(AmbientError)
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'CoreError', code: 'AMBIENT_E_CONNECT_FAILED', layer: 'tcp', cause })
    expect(error.stack).toContain('connecting failed')
  })

  it('has no cause property when there is no cause', () => {
    const error = new CoreError('AMBIENT_E_CLOSED', 'closed')
    expect('cause' in error).toBe(false)
    expect(error.layer).toBeUndefined()
  })

  it('is known by its brand, not by its class: two copies of a package may be installed', () => {
    class Copy extends Error {}
    const foreign = Object.defineProperty(new Copy('x'), Symbol.for('ambient.error'), { value: true })
    expect(isAmbientError(foreign)).toBe(true)
    expect(isAmbientError(new CoreError('AMBIENT_E_CLOSED', 'x'))).toBe(true)
    for (const other of [new Error('x'), { code: 'AMBIENT_E_CLOSED' }, null, undefined, 'text'])
      expect(isAmbientError(other)).toBe(false)
  })

  it('does not show the brand in dumps', () => {
    expect(JSON.stringify(new CoreError('AMBIENT_E_CLOSED', 'x'))).not.toContain('ambient.error')
    expect(Object.keys(new CoreError('AMBIENT_E_CLOSED', 'x'))).not.toContain('ambient.error')
  })
})

describe('messageOf', () => {
  it.each([
    [new Error('went wrong'), 'went wrong'],
    ['a string', 'a string'],
    [undefined, 'undefined'],
    [{ toString: (): string => 'shown' }, 'shown'],
  ])('%o', (thrown, message) => expect(messageOf(thrown)).toBe(message))
})
