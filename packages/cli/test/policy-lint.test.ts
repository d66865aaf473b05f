/** `ambient policy lint`: each seeded mistake has its id and its line. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { lintRules } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { run } from './host.ts'

const folder = fileURLToPath(new URL('lint', import.meta.url))
const fixtures = readdirSync(folder).sort()

interface Printed {
  readonly findings: readonly { readonly id: string; readonly position: { readonly line: number } }[]
}

describe('seeded mistakes', () => {
  for (const name of fixtures)
    it(`${name}: each marked line has its finding, and no other line has one`, async () => {
      const file = join(folder, name)
      const { out, err } = await run('policy', 'lint', '-f', file, '-o', 'json')
      // What readers say already is said on standard error too.
      expect(err.replace(/^(note: |.*:\d+:\d+: warning: ).*\n/gm, '')).toBe('')
      const { findings } = JSON.parse(out) as Printed
      expect(findings.map(({ id, position }) => `${position.line} ${id}`).sort()).toEqual(
        marksOf(readFileSync(file, 'utf8')),
      )
    })

  it('there is one for each rule', () => {
    const missing = Object.keys(lintRules).filter(id => !fixtures.includes(`${id}.yaml`))
    expect(missing).toEqual([])
  })
})

/** `# <- ID` at the end of a line. */
function marksOf(text: string): readonly string[] {
  const lines = text.split('\n')
  return lines
    .flatMap((line, index) => [...line.matchAll(/# <- ([\w-]+)/g)].map(([, id]) => `${index + 1} ${id}`))
    .sort()
}
