/** Objects that hold a key show a redacted form to `JSON.stringify` and `util.inspect`. */
import { inspect } from 'node:util'

/** Adds the two hooks, invisible to enumeration, and gives the same object back. */
export function redacted<T extends object>(target: T, shown: Readonly<Record<string, unknown>>): T {
  Object.defineProperties(target, {
    toJSON: { value: () => shown },
    [inspect.custom]: { value: () => shown },
  })
  return target
}
