/** A file of static tokens: `TOKEN SPIFFE_ID`, or `TOKEN node NAME [SPIFFE_ID…]` for whoever speaks for a node. */
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { messageOf, readSpiffeId } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import type { Caller } from './callers.ts'

/** By the token's hash: a look-up takes as long for a near miss as for a far one. */
export type TokenTable = ReadonlyMap<string, Caller>

export function hashOfToken(token: string): string {
  return createHash('sha256').update(token).digest('base64')
}

/**
 * Empty lines and lines that begin with `#` are passed over. No error quotes a token.
 * @throws IdentityError `AMBIENT_E_CA_FILES` with the line that is wrong
 */
export function readTokens(text: string, where = 'tokens'): TokenTable {
  const table = new Map<string, Caller>()
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const words = line.trim().split(/\s+/)
    const [token = '', ...rest] = words
    if (token === '' || token.startsWith('#')) continue
    const wrong = (what: string): IdentityError =>
      new IdentityError('AMBIENT_E_CA_FILES', `${where}, line ${index + 1}: ${what}`, { layer: 'config' })
    const key = hashOfToken(token)
    if (table.has(key)) throw wrong('the token of an earlier line')
    table.set(key, callerOf(rest, wrong))
  }
  return table
}

/** Read again when it changed. While it cannot be read, nobody is believed: the function rejects. */
export function createTokenFile(path: string): () => Promise<TokenTable> {
  let known: { readonly version: string; readonly table: TokenTable } | undefined
  return async () => {
    try {
      const { ino, mtimeMs, size } = await stat(path)
      const version = `${ino}:${mtimeMs}:${size}`
      if (known?.version !== version)
        known = { version, table: readTokens(await readFile(path, 'utf8'), path) }
      return known.table
    } catch (cause) {
      if (cause instanceof IdentityError) throw cause
      throw new IdentityError('AMBIENT_E_CA_FILES', `${path}: ${messageOf(cause)}`, {
        cause,
        layer: 'config',
      })
    }
  }
}

function callerOf(words: readonly string[], wrong: (what: string) => IdentityError): Caller {
  const [first = '', second, ...more] = words
  const idOf = (text: string): Extract<ReturnType<typeof readSpiffeId>, { ok: true }>['id'] => {
    const read = readSpiffeId(text)
    if (!read.ok) throw wrong(`expected a SPIFFE ID: ${read.reason}`)
    if (read.id.path === '') throw wrong('names a trust domain, not a workload')
    return read.id
  }
  if (first !== 'node') {
    if (first === '' || second !== undefined) throw wrong('expected TOKEN SPIFFE_ID or TOKEN node NAME')
    return { id: idOf(first) }
  }
  if (second === undefined) throw wrong('expected the name of a node')
  return more.length === 0 ? { node: second } : { node: second, workloads: more.map(idOf) }
}
