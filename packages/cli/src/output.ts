/** `-o`: the same facts as a table for people, as JSON or as YAML. */
import { stringify } from 'yaml'

export const OUTPUT_FORMATS = ['table', 'json', 'yaml'] as const
export type OutputFormat = (typeof OUTPUT_FORMATS)[number]

/** `table` is only called when it is wanted. */
export function render(format: OutputFormat, facts: unknown, table: () => string): string {
  if (format === 'table') return table()
  return format === 'json' ? `${JSON.stringify(facts, undefined, 2)}\n` : stringify(plain(facts), YAML)
}

/** A list as `render` gives it, piece by piece: all of it at once may be more than a text can hold. */
export function* renderItems(format: 'json' | 'yaml', facts: Iterable<unknown>): Generator<string> {
  if (format === 'yaml') return yield* yamlItems(facts)
  let before = '['
  for (const one of facts) {
    yield `${before}\n  ${JSON.stringify(one, undefined, 2).replaceAll('\n', '\n  ')}`
    before = ','
  }
  yield before === '[' ? '[]\n' : '\n]\n'
}

function* yamlItems(facts: Iterable<unknown>): Generator<string> {
  let isEmpty = true
  for (const one of facts) {
    yield stringify([plain(one)], YAML)
    isEmpty = false
  }
  if (isEmpty) yield '[]\n'
}

/** One of many, as they come: a line of JSON, or a YAML document. */
export function renderEvent(format: 'json' | 'yaml', facts: unknown): string {
  return format === 'json' ? `${JSON.stringify(facts)}\n` : `---\n${stringify(plain(facts), YAML)}`
}

const YAML = { lineWidth: 0, aliasDuplicateObjects: false } as const

/** What JSON would keep of it. */
function plain(facts: unknown): unknown {
  return JSON.parse(JSON.stringify(facts))
}
