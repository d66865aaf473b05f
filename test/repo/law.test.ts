/** The law of CONTRIBUTING.md, as far as a parser can hold it. */
import { basename } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { filesUnder, nodesOf, order, parse, positionOf, read, shown, sourcesOf } from './workspace.ts'

const MAX_FILE_LINES = 400
const MAX_FUNCTION_LINES = 50
/** The only files that look at argv and environment. */
const ENTRY_FILES = ['bin.ts', 'capture.ts']

const sources = order.flatMap(sourcesOf)
const tests = [...order.flatMap(name => filesUnder(`packages/${name}/test`)), ...filesUnder('test')]
const written = [
  ...sources,
  ...tests,
  ...filesUnder('examples'),
  ...filesUnder('bench'),
  ...filesUnder('.config'),
]

const find = (files: readonly string[], wanted: (node: ts.Node) => boolean): string[] =>
  files.flatMap(file => [...nodesOf(parse(file))].filter(wanted).map(positionOf))

describe('the law', () => {
  it('no `any`', () => expect(find([...sources, ...tests], isAny)).toEqual([]))
  it('no non-null `!`', () => expect(find([...sources, ...tests], ts.isNonNullExpression)).toEqual([]))
  it('no enum, no namespace, no parameter property', () => expect(find(sources, isNotErasable)).toEqual([]))
  it('no default export, no `export *`', () => {
    const files = [...sources, ...tests, ...filesUnder('examples')].filter(
      file => !/\.config\.ts$/.test(file),
    )
    expect(find(files, node => isDefaultExport(node) || isStarExport(node))).toEqual([])
  })

  it('no process.env outside entry files', () => {
    const files = sources.filter(file => !ENTRY_FILES.includes(basename(file)))
    expect(find(files, isProcessEnv)).toEqual([])
  })

  it('no console in libraries', () => {
    const files = sources.filter(file => !ENTRY_FILES.includes(basename(file)))
    const isConsole = (node: ts.Node): boolean =>
      ts.isPropertyAccessExpression(node) &&
      ts.isIdentifier(node.expression) &&
      node.expression.text === 'console'
    expect(find(files, isConsole)).toEqual([])
  })

  it('no test is switched off or alone', () => {
    const isSwitched = (node: ts.Node): boolean =>
      ts.isPropertyAccessExpression(node) &&
      ['only', 'todo'].includes(node.name.text) &&
      ts.isIdentifier(node.expression) &&
      ['it', 'test', 'describe'].includes(node.expression.text)
    expect(find(tests, isSwitched)).toEqual([])
  })

  it('no test sleeps: a timer in a test says in a comment what it waits for', () => {
    const isTimer = (node: ts.Node): boolean =>
      (ts.isImportDeclaration(node) && /timers\/promises/.test(node.moduleSpecifier.getText())) ||
      (ts.isCallExpression(node) && node.expression.getText() === 'setTimeout')
    const isSilent = (node: ts.Node): boolean => {
      const source = node.getSourceFile()
      const lines = source.text.split('\n')
      const { line } = source.getLineAndCharacterOfPosition(node.getStart())
      return !lines.slice(Math.max(0, line - 1), line + 1).some(text => /\/\/|^\s*\*|\*\//.test(text))
    }
    expect(find(tests, node => isTimer(node) && isSilent(node))).toEqual([])
  })

  it(`files longer than ${MAX_FILE_LINES} lines say why`, () => {
    const silent = written.filter(file => {
      const lines = read(file).split('\n')
      return (
        lines.length - 1 > MAX_FILE_LINES &&
        !lines.slice(0, 10).some(line => /^[\s/*#]*Why so long: \S/.test(line))
      )
    })
    expect(silent.map(shown)).toEqual([])
  })

  it(`functions have at most ${MAX_FUNCTION_LINES} lines`, () => {
    const isLong = (node: ts.Node): boolean =>
      ts.isFunctionLike(node) &&
      'body' in node &&
      node.body !== undefined &&
      linesOf(node) > MAX_FUNCTION_LINES
    expect(find(sources, isLong)).toEqual([])
  })

  it('every file begins with what it is', () => {
    const silent = sources.filter(file => !/^(#!.*\n)?\s*(\/\*\*|\/\/)/.test(read(file)))
    expect(silent.map(shown)).toEqual([])
  })

  it('file names are kebab-case and say something', () => {
    const wrong = written.filter(file => {
      const name = basename(file)
      return (
        !/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)+$/.test(name) || /^(utils?|helpers?|misc)\.|-impl\./.test(name)
      )
    })
    expect(wrong.map(shown)).toEqual([])
  })

  it('relative imports carry their extension', () => {
    const isBare = (node: ts.Node): boolean =>
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined &&
      ts.isStringLiteral(node.moduleSpecifier) &&
      /^\.\.?\//.test(node.moduleSpecifier.text) &&
      !/\.(ts|js|mjs|mts|json)$/.test(node.moduleSpecifier.text)
    expect(find(sources, isBare)).toEqual([])
  })
})

function isAny(node: ts.Node): boolean {
  return node.kind === ts.SyntaxKind.AnyKeyword
}

function isNotErasable(node: ts.Node): boolean {
  return (
    ts.isEnumDeclaration(node) ||
    (ts.isModuleDeclaration(node) && !isDeclared(node)) ||
    (ts.isParameter(node) && ts.isParameterPropertyDeclaration(node, node.parent))
  )
}

/** `declare global`, and what is in it, adds to types of others. */
function isDeclared(node: ts.Node): boolean {
  const modifiers = ts.canHaveModifiers(node) ? (ts.getModifiers(node) ?? []) : []
  return (
    modifiers.some(({ kind }) => kind === ts.SyntaxKind.DeclareKeyword) ||
    (!ts.isSourceFile(node) && isDeclared(node.parent))
  )
}

function isDefaultExport(node: ts.Node): boolean {
  if (ts.isExportAssignment(node)) return true
  if (ts.isExportSpecifier(node)) return node.name.text === 'default'
  return (
    ts.canHaveModifiers(node) &&
    (ts.getModifiers(node) ?? []).some(modifier => modifier.kind === ts.SyntaxKind.DefaultKeyword)
  )
}

function isStarExport(node: ts.Node): boolean {
  return ts.isExportDeclaration(node) && node.exportClause === undefined
}

function isProcessEnv(node: ts.Node): boolean {
  const name = ts.isPropertyAccessExpression(node)
    ? node.name.text
    : ts.isElementAccessExpression(node) && ts.isStringLiteral(node.argumentExpression)
      ? node.argumentExpression.text
      : undefined
  return (
    name === 'env' &&
    (ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node)) &&
    /(^|\.)process\??$/.test(node.expression.getText())
  )
}

function linesOf(node: ts.Node): number {
  const source = node.getSourceFile()
  const line = (position: number): number => source.getLineAndCharacterOfPosition(position).line
  return line(node.getEnd()) - line(node.getStart()) + 1
}
