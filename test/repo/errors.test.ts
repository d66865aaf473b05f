/** docs/errors.md and the code say the same about errors, in both directions. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { allErrorCodes } from './error-codes.ts'
import { nodesOf, order, parse, positionOf, read, root, sourcesOf } from './workspace.ts'

const codes = allErrorCodes()
const key = (entry: { readonly package: string; readonly code: string }): string =>
  `@ambient/${entry.package} ${entry.code}`

interface Row {
  readonly package: string
  readonly code: string
  readonly cells: readonly string[]
}

/** Rows of the tables below each `## @ambient/NAME`. */
function documentedRows(): Row[] {
  let name = ''
  return read('docs/errors.md')
    .split('\n')
    .flatMap(line => {
      name = /^## @ambient\/([a-z]+)$/.exec(line)?.[1] ?? name
      const cells = line.split(/(?<!\\)\|/).map(cell => cell.trim())
      const code = /^`([A-Z_0-9]+)`$/.exec(cells[1] ?? '')?.[1]
      return code === undefined ? [] : [{ package: name, code, cells: cells.slice(1, -1) }]
    })
}

describe('error codes', () => {
  it('are a union in errors.ts of every package that throws', () => {
    const throwing = order.filter(name => existsSync(join(root, 'packages', name, 'src', 'errors.ts')))
    expect([...new Set(codes.map(entry => entry.package))]).toEqual(throwing)
  })

  it('have one form', () => {
    expect(codes.filter(({ code }) => !/^AMBIENT_E_[A-Z0-9]+(_[A-Z0-9]+)*$/.test(code))).toEqual([])
  })

  it('are all in docs/errors.md, once, and no others are', () => {
    expect(documentedRows().map(key).sort()).toEqual(codes.map(key).sort())
  })

  it('have a meaning and a next step there', () => {
    const thin = documentedRows().filter(
      row => row.cells.length !== 3 || row.cells.some(cell => cell.length < 8),
    )
    expect(thin).toEqual([])
  })

  it('are each used by their package', () => {
    const dead = codes.filter(({ package: name, code }) => !usedCodes(name).has(code))
    expect(dead.map(key)).toEqual([])
  })

  it('are the only ones that the sources name', () => {
    const known = new Set(codes.map(entry => entry.code))
    const unknown = order
      .flatMap(sourcesOf)
      .flatMap(file => [...nodesOf(parse(file))])
      .filter(
        node => ts.isStringLiteralLike(node) && node.text.startsWith('AMBIENT_E_') && !known.has(node.text),
      )
    expect(unknown.map(positionOf)).toEqual([])
  })

  it('in comments exist as well', () => {
    const known = new Set(codes.map(entry => entry.code))
    const stale = order
      .flatMap(sourcesOf)
      .flatMap(file =>
        [...read(file).matchAll(/AMBIENT_E_[A-Z0-9_]*[A-Z0-9]/g)]
          .filter(([code]) => !known.has(code))
          .map(([code]) => `${code} in ${file.slice(root.length + 1)}`),
      )
    expect(stale).toEqual([])
  })
})

const used = new Map<string, Set<string>>()

/** Codes that appear as values, not as types. */
function usedCodes(name: string): Set<string> {
  const known = used.get(name)
  if (known !== undefined) return known
  const found = new Set<string>()
  for (const file of sourcesOf(name))
    for (const node of nodesOf(parse(file)))
      if (ts.isStringLiteralLike(node) && !ts.isLiteralTypeNode(node.parent)) found.add(node.text)
  used.set(name, found)
  return found
}
