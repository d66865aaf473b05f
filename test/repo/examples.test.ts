/** Every example runs, and the manifests that examples ship are what the mesh takes without a complaint. */
import { existsSync, readdirSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { formatProblem } from '@ambient/policy'
import { readManifests } from '@ambient/discovery'
import { describe, expect, it } from 'vitest'
import { blocksOf } from './markdown.ts'
import { runProgram } from './run-program.ts'
import { filesUnder, read, root, shown } from './workspace.ts'

const folder = join(root, 'examples')
const examples = readdirSync(folder, { withFileTypes: true })
  .filter(entry => entry.isDirectory() && entry.name !== 'node_modules')
  .map(entry => entry.name)
  .sort()

/** The Node that runs these tests, before any other. */
const env = { ...process.env, PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter) }

/** A repository to copy, whose place in the reading order is its own. */
const UNNUMBERED = ['policy-tests']

/** Its whole story takes a minute: `.ci/run` tells it. */
const TOLD_ELSEWHERE = ['01-bookinfo']

interface Manifest {
  readonly private?: boolean
  readonly scripts?: Readonly<Record<string, string>>
}

const manifestOf = (name: string): Manifest =>
  existsSync(join(folder, name, 'package.json'))
    ? (JSON.parse(read(join(folder, name, 'package.json'))) as Manifest)
    : {}

describe('examples', () => {
  it('are numbered in reading order, without a gap', () => {
    const numbered = examples.filter(name => !UNNUMBERED.includes(name))
    expect(numbered.map(name => /^(\d\d)-[a-z-]+$/.exec(name)?.[1])).toEqual(
      numbered.map((_, index) => String(index + 1).padStart(2, '0')),
    )
  })

  it('are told in full by .ci/run when not here', () => {
    expect(read('.ci/run')).toContain('demo')
    for (const name of TOLD_ELSEWHERE) expect(read('.config/tasks/demo.mjs')).toContain(name)
  })

  for (const name of examples) {
    it(`${name} is private and says what it shows`, () => {
      expect(manifestOf(name)).toMatchObject({ private: true })
      expect(read(join(folder, name, 'README.md'))).toMatch(/^# .+\n\n\S/)
    })

    if (TOLD_ELSEWHERE.includes(name)) continue
    it(`${name} runs`, async () => {
      const { scripts = {} } = manifestOf(name)
      const script = ['test', 'start'].find(candidate => scripts[candidate] !== undefined)
      expect(script, 'a `test` or `start` script').toBeDefined()
      const ending = await runProgram('npm', ['run', '--silent', script ?? '', '--', '--check'], {
        cwd: join(folder, name),
        env,
        timeoutMs: 60_000,
      })
      expect(ending).toEqual({ code: 0, output: expect.any(String) })
      const readme = blocksOf(join(folder, name, 'README.md'))
      for (const { code } of readme.filter(block => block.flags.includes('output')))
        expect(ending.output.trim()).toBe(code)
    }, 70_000)
  }
})

describe('manifests of examples', () => {
  for (const name of examples) {
    const files = filesUnder(`examples/${name}/manifests`, ['.yaml', '.yml', '.json'])
    if (files.length === 0) continue
    it(`${name} has no problem`, () => {
      const { problems } = readManifests(files.map(file => ({ path: shown(file), text: read(file) })))
      expect(problems.map(formatProblem)).toEqual([])
    })
  }
})
