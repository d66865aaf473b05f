/** What lint can write itself, because it has one meaning only. */
import { writeFile } from 'node:fs/promises'
import type { LintFinding, LintId } from '@ambient/policy'
import type { PolicyFiles } from './read-documents.ts'

/** A value, in quotes or without, to the value that was meant. */
const REWRITES: ReadonlyMap<LintId, (rest: string) => string> = new Map([
  ['principal-with-scheme', rest => rest.replace(/^(["']?)spiffe:\/\//, '$1')],
  ['method-case', rest => rest.replace(/^["']?[a-z]+/i, method => method.toUpperCase())],
])

/**
 * Rewrites the files in place; standard input stays as it is.
 * @returns how many findings are gone.
 */
export async function fixFiles(
  files: PolicyFiles['files'],
  findings: readonly LintFinding[],
): Promise<number> {
  let fixed = 0
  for (const { path, text } of files) {
    if (path === '-') continue
    const lines = text.split('\n')
    // From the end of a line to its beginning: what is before stays where it is.
    const here = findings.filter(({ id, position }) => position?.file === path && REWRITES.has(id))
    for (const { id, position } of [...here].reverse()) {
      const line = lines[(position?.line ?? 0) - 1]
      const at = (position?.column ?? 0) - 1
      const rewrite = REWRITES.get(id)
      if (line === undefined || rewrite === undefined) continue
      const changed = line.slice(0, at) + rewrite(line.slice(at))
      if (changed === line) continue
      lines[(position?.line ?? 0) - 1] = changed
      fixed++
    }
    const changed = lines.join('\n')
    if (changed !== text) await writeFile(path, changed)
  }
  return fixed
}
