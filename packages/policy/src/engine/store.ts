/** The policies in force, and who wants to know when they change. */
import { IndexedPolicies, type PolicySet } from './policy-set.ts'
import type { Authorization } from '../ztunnel/authorization.ts'

export interface PolicyUpdate {
  readonly upsert: readonly Authorization[]
  /** `namespace/name`; unknown ones are ignored. */
  readonly remove: readonly string[]
}

/** Changes are atomic: nobody sees half of an update, and listeners hear of it once, after it. */
export interface PolicyStore {
  /** For `decide` and `explain`: always what is in force now. */
  readonly policies: PolicySet
  replace(all: readonly Authorization[]): void
  apply(update: PolicyUpdate): void
  get(key: string): Authorization | undefined
  /** By key. */
  list(): readonly Authorization[]
  /** @returns the function that ends the watch. */
  watch(listener: () => void): () => void
}

export function createPolicyStore(initial: readonly Authorization[] = []): PolicyStore {
  const set = new IndexedPolicies()
  const listeners = new Set<() => void>()
  set.putAll(initial)
  return {
    policies: set,
    replace(all) {
      set.clear()
      set.putAll(all)
      notify(listeners)
    },
    apply({ upsert, remove }) {
      if (upsert.length === 0 && remove.length === 0) return
      for (const key of remove) set.remove(key)
      set.putAll(upsert)
      notify(listeners)
    },
    get: key => set.get(key),
    list: () => set.list(),
    watch(listener) {
      // A function of its own, so that one listener may watch twice.
      const entry = (): void => listener()
      listeners.add(entry)
      return () => void listeners.delete(entry)
    },
  }
}

/** Every listener hears of it, also when one of them throws; the first error goes on to whoever made the change. */
function notify(listeners: ReadonlySet<() => void>): void {
  const errors: unknown[] = []
  for (const listener of [...listeners]) {
    try {
      listener()
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw errors[0]
}
