/** The documents of the repository and the code blocks in them. */
import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { filesUnder, order, read, root, shown } from './workspace.ts'

export interface CodeBlock {
  readonly file: string
  /** Line of the opening fence, from 1. */
  readonly line: number
  /** `README.md:12`. */
  readonly name: string
  readonly language: string
  /** Words after the language: `run`. */
  readonly flags: readonly string[]
  readonly code: string
  /** What a `<!-- given: … -->` just above declares for the compiler, so that the reader need not see it. */
  readonly given: string
}

/** README and friends of the root, docs/, READMEs of packages, examples, bench. */
export function documents(): readonly string[] {
  const single = [
    'README.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    ...order.map(name => `packages/${name}/README.md`),
  ]
  const folders = ['docs', 'examples', 'bench'].flatMap(folder => filesUnder(folder, ['.md']))
  return [
    ...single.map(file => join(root, file)).filter(existsSync),
    ...folders.filter(file => !shown(file).startsWith('docs/api/') && basename(file) !== 'CHANGELOG.md'),
  ]
}

export function blocksOf(file: string): CodeBlock[] {
  const blocks: CodeBlock[] = []
  let open: { line: number; info: string; code: string[] } | undefined
  let given = ''
  for (const [index, line] of read(file).split('\n').entries()) {
    const fence = /^```(.*)$/.exec(line)
    if (open === undefined && fence === null) given = /^<!-- given: (.*) -->$/.exec(line)?.[1] ?? ''
    else if (open === undefined) open = { line: index + 1, info: fence?.[1]?.trim() ?? '', code: [] }
    else if (fence === null) open.code.push(line)
    else {
      const [language = '', ...flags] = open.info.split(/\s+/)
      const name = `${shown(file)}:${open.line}`
      blocks.push({ file, line: open.line, name, language, flags, code: open.code.join('\n'), given })
      open = undefined
      given = ''
    }
  }
  return blocks
}
