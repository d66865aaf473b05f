/** Every default of every package: the value from the running module, the reason from the comment beside it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { docOf, order, parse, root, trailingCommentOf } from './workspace.ts'

export interface DefaultValue {
  readonly package: string
  /** `limits.maxDepth`, or the name of a constant. */
  readonly name: string
  readonly value: unknown
  readonly reason: string
}

/** The files in which a package may keep its tables. */
const TABLE_FILES = ['defaults.ts', 'limits.ts']

export async function allDefaults(): Promise<readonly DefaultValue[]> {
  const found: DefaultValue[] = []
  for (const name of order) {
    for (const table of TABLE_FILES) {
      const file = join(root, 'packages', name, 'src', table)
      if (existsSync(file)) found.push(...(await defaultsOf(name, file)))
    }
  }
  return found
}

async function defaultsOf(name: string, file: string): Promise<DefaultValue[]> {
  const module = (await import(pathToFileURL(file).href)) as Record<string, unknown>
  const reasons = reasonsOf(file)
  const found: DefaultValue[] = []
  const add = (key: string, value: unknown): void =>
    void found.push({ package: name, name: key, value, reason: reasons.get(key) ?? '' })
  for (const [key, value] of Object.entries(module)) {
    if (typeof value === 'function') continue
    if (typeof value !== 'object' || value === null || Array.isArray(value)) add(key, value)
    else for (const [field, inner] of Object.entries(value)) add(`${key}.${field}`, inner)
  }
  // Modules list their exports by name; readers want them as they were written.
  const order = [...reasons.keys()]
  return found.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
}

/** The comment of each exported constant, or of each field of it; a field without one has its table's. */
function reasonsOf(file: string): Map<string, string> {
  const reasons = new Map<string, string>()
  for (const statement of parse(file).statements) {
    if (!ts.isVariableStatement(statement)) continue
    for (const { name, initializer } of statement.declarationList.declarations) {
      const table = initializer && tableOf(initializer)
      const own = docOf(statement) ?? ''
      if (table === undefined) reasons.set(name.getText(), own)
      for (const field of table?.properties ?? [])
        reasons.set(
          `${name.getText()}.${field.name?.getText()}`,
          docOf(field) ?? trailingCommentOf(field) ?? own,
        )
    }
  }
  return reasons
}

/** The object of `{ … }` and of `Object.freeze({ … })`, whatever type it is said to have. */
function tableOf(expression: ts.Expression): ts.ObjectLiteralExpression | undefined {
  if (ts.isObjectLiteralExpression(expression)) return expression
  if (ts.isAsExpression(expression) || ts.isSatisfiesExpression(expression))
    return tableOf(expression.expression)
  const [first] = ts.isCallExpression(expression) ? expression.arguments : []
  return first === undefined ? undefined : tableOf(first)
}
