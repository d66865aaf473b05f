/**
 * Where each part of a policy's rules was written. Kept beside the policies, not in them: a document that was read equals
 * one that was built, and whoever does not ask for lines (a control plane with thousands of policies) pays for none.
 */
import type { AuthorizationPolicy } from './authorization-policy.ts'
import type { SourcePosition } from '../yaml/problem.ts'
import type { YamlReader } from '../yaml/reader.ts'

/** By policy, in the order of `walk`: line and column in one number. */
const remembered = new WeakMap<AuthorizationPolicy, readonly number[]>()

/** More columns than the longest document has bytes. */
const COLUMNS = 2 ** 23

/**
 * Remembers where the rules of a policy were written. `root` is the document that it was read from without an error.
 * `readPolicies` and `parsePolicies` do this themselves.
 */
export function rememberPositions(policy: AuthorizationPolicy, root: YamlReader): void {
  const places: number[] = []
  const spec = root.object()?.get('spec')?.object()
  const add = ({ line, column }: SourcePosition): number => places.push(line * COLUMNS + column)
  if (spec?.has('rules')) {
    add(spec.keyPosition('rules'))
    readPlaces(policy.spec.rules, spec.get('rules'), add)
  }
  remembered.set(policy, places)
}

/**
 * Every part of the rules with its position, by its path: `rules`, `rules[0]`, `rules[0].from`, `rules[0].from[1]`,
 * `rules[0].from[1].source.principals`, `rules[0].from[1].source.principals[2]`, `rules[0].when[0].values`. A field stands
 * where its key does, an item of a list where its value does. Empty when nothing is remembered: for a policy that was
 * built or copied.
 */
export function positionsOf(policy: AuthorizationPolicy): ReadonlyMap<string, SourcePosition> {
  const places = remembered.get(policy) ?? []
  const file = policy.source?.file
  const positions = new Map<string, SourcePosition>()
  if (file === undefined) return positions
  for (const [index, path] of pathsOf(policy.spec.rules, 'rules').entries()) {
    const place = places[index]
    if (place === undefined) break
    positions.set(path, { file, line: Math.floor(place / COLUMNS), column: place % COLUMNS })
  }
  return positions
}

/** The same walk as `pathsOf`, through what was written. */
function readPlaces(
  value: unknown,
  reader: YamlReader | undefined,
  add: (position: SourcePosition) => void,
): void {
  if (Array.isArray(value)) {
    const items = [...(reader?.list(item => item) ?? [])]
    for (const [index, item] of value.entries()) {
      const written = items[index]
      if (written !== undefined) add(written.position)
      readPlaces(item, written, add)
    }
    return
  }
  if (!isRecord(value)) return
  const object = reader?.object()
  for (const [key, item] of Object.entries(value)) {
    if (object !== undefined) add(object.keyPosition(key))
    readPlaces(item, object?.get(key), add)
  }
}

function pathsOf(value: unknown, path: string): readonly string[] {
  if (value === undefined) return []
  if (Array.isArray(value))
    return [path, ...value.flatMap((item, index) => pathsOf(item, `${path}[${index}]`))]
  if (!isRecord(value)) return [path]
  return [path, ...Object.entries(value).flatMap(([key, item]) => pathsOf(item, `${path}.${key}`))]
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
