/** What the checks of the repository read: packages, tracked files, parsed sources. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, extname, join, relative, resolve, sep } from 'node:path'
import ts from 'typescript'
import { entries, manifest, order, root } from '../../.config/packages.mjs'

export { entries, manifest, order, root }

/** Path from the root, with forward slashes. */
export function shown(file: string): string {
  return relative(root, file).split(sep).join('/')
}

export function read(file: string): string {
  return readFileSync(resolve(root, file), 'utf8')
}

/** Files of a folder of the repository, absolute, without what is installed, built or generated. */
export function filesUnder(
  folder: string,
  extensions: readonly string[] = ['.ts', '.mts', '.mjs'],
): string[] {
  const start = resolve(root, folder)
  if (!existsSync(start)) return []
  return readdirSync(start, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && extensions.includes(extname(entry.name)))
    .map(entry => join(entry.parentPath, entry.name))
    .filter(file => !/(^|\/)(node_modules|dist|gen|coverage|\.cache)\//.test(shown(file)))
    .sort()
}

/** Hand-written sources of a package. */
export function sourcesOf(name: string): string[] {
  return filesUnder(`packages/${name}/src`, ['.ts', '.mts', '.cts'])
}

/** Every text file that git knows, and every one that it would take; `undefined` where this is no checkout. */
export function trackedFiles(): string[] | undefined {
  if (!existsSync(join(root, '.git'))) return undefined
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
  return list
    .split('\0')
    .filter(name => name !== '')
    .map(name => join(root, name))
    .filter(file => existsSync(file) && statSync(file).isFile())
}

const parsed = new Map<string, ts.SourceFile>()

export function parse(file: string): ts.SourceFile {
  const known = parsed.get(file)
  if (known !== undefined) return known
  const source = ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest, true)
  parsed.set(file, source)
  return source
}

/** `path:line` of a node. */
export function positionOf(node: ts.Node): string {
  const source = node.getSourceFile()
  const { line } = source.getLineAndCharacterOfPosition(node.getStart())
  return `${shown(source.fileName)}:${line + 1}`
}

/** Every node of a file, parents first. */
export function* nodesOf(node: ts.Node): Generator<ts.Node> {
  yield node
  const children: ts.Node[] = []
  ts.forEachChild(node, child => void children.push(child))
  for (const child of children) yield* nodesOf(child)
}

/** Specifiers of every static, dynamic and `require` import, types included. */
export function importsOf(file: string): string[] {
  return ts.preProcessFile(read(file), true, true).importedFiles.map(imported => imported.fileName)
}

export function isBuiltin(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(specifier.split('/')[0] ?? specifier)
}

/** `name` of `name/sub/path` and of `@scope/name/sub/path`. */
export function packageNameOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

/** The file that a relative import means. */
export function resolveRelative(file: string, specifier: string): string {
  return resolve(dirname(file), specifier)
}

/** The JSDoc text before a node in one line, `undefined` when there is none. */
export function docOf(node: ts.Node): string | undefined {
  const text = node.getSourceFile().text
  const ranges = ts.getLeadingCommentRanges(text, node.getFullStart()) ?? []
  const last = ranges.filter(range => text.startsWith('/**', range.pos)).at(-1)
  return last === undefined ? undefined : commentText(text.slice(last.pos, last.end))
}

/** The `// …` comment behind a node on the same line. */
export function trailingCommentOf(node: ts.Node): string | undefined {
  const text = node.getSourceFile().text
  const end = text[node.getEnd()] === ',' ? node.getEnd() + 1 : node.getEnd()
  const first = ts.getTrailingCommentRanges(text, end)?.[0]
  return first === undefined ? undefined : commentText(text.slice(first.pos, first.end))
}

function commentText(comment: string): string {
  return comment
    .replace(/^\/\*\*?|\*\/$|^\/\//g, '')
    .split('\n')
    .map(line => line.trim().replace(/^\* ?/, ''))
    .join(' ')
    .replace(/\s+/g, ' ')
    .trim()
}
