/** The error codes of every package, read from its `…ErrorCode` union. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { docOf, order, parse, root } from './workspace.ts'

export interface ErrorCode {
  readonly package: string
  readonly code: string
  /** The comment beside it in the source, empty when there is none. */
  readonly meaning: string
}

export function allErrorCodes(): readonly ErrorCode[] {
  return order.flatMap(name => {
    const file = join(root, 'packages', name, 'src', 'errors.ts')
    return existsSync(file) ? codesOf(name, file) : []
  })
}

function codesOf(name: string, file: string): ErrorCode[] {
  const unions = parse(file).statements.filter(
    (statement): statement is ts.TypeAliasDeclaration =>
      ts.isTypeAliasDeclaration(statement) && statement.name.text.endsWith('ErrorCode'),
  )
  return unions.flatMap(({ type }) =>
    (ts.isUnionTypeNode(type) ? [...type.types] : [type]).flatMap(member => {
      const literal =
        ts.isLiteralTypeNode(member) && ts.isStringLiteral(member.literal) ? member.literal : undefined
      return literal === undefined
        ? []
        : [{ package: name, code: literal.text, meaning: docOf(member) ?? '' }]
    }),
  )
}
