/** `ambient policy lint`: its formats, its exit codes, what it rewrites, and the pages of its rules. */
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type LintId, lintPage, lintRules } from '@ambient/policy'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sarifOf } from '../src/policy/sarif.ts'
import { run } from './host.ts'

const fixtures = fileURLToPath(new URL('lint', import.meta.url))
const root = fileURLToPath(new URL('../../..', import.meta.url))
const fixture = (id: string): string => join(fixtures, `${id}.yaml`)

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ambient-lint-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('formats', () => {
  it('prints file, line, column, severity, id and what to do', async () => {
    const { code, out, err } = await run('policy', 'lint', '-f', fixture('l4-deny-wider'))
    expect(code).toBe(1)
    expect(out).toBe(
      `${fixture('l4-deny-wider')}:10:13: warning: ztunnel does not see methods: the DENY rule denies more there than it says [l4-deny-wider]\n    ${lintRules['l4-deny-wider'].fix}\n1 warning\n`,
    )
    expect(err).toBe(
      'note: no workloads, services or gateways in these files: rules about the mesh are silent\n',
    )
  })

  it('prints SARIF 2.1.0 with everything that its schema requires', async () => {
    const { code, out } = await run('policy', 'lint', '-f', fixture('wide-wildcard'), '-o', 'sarif')
    expect(code).toBe(1)
    const log = JSON.parse(out)
    expect(Object.keys(log)).toEqual(['$schema', 'version', 'runs'])
    expect(log.version).toBe('2.1.0')
    const [{ tool, results, columnKind }] = log.runs
    expect([tool.driver.name, columnKind]).toEqual(['ambient policy lint', 'utf16CodeUnits'])
    const ids = tool.driver.rules.map(({ id }: { id: string }) => id)
    expect(ids).toEqual(Object.keys(lintRules))
    for (const rule of tool.driver.rules) {
      expect(rule.shortDescription.text).not.toBe('')
      expect(rule.help.text).not.toBe('')
      expect(['error', 'warning', 'note']).toContain(rule.defaultConfiguration.level)
    }
    expect(results).toHaveLength(2)
    for (const result of results) {
      expect(ids[result.ruleIndex]).toBe(result.ruleId)
      expect(['error', 'warning', 'note']).toContain(result.level)
      expect(result.message.text).not.toBe('')
      const [{ physicalLocation }] = result.locations
      expect(physicalLocation.artifactLocation.uri).toMatch(/^[\w%/.~-]+$/)
      expect(physicalLocation.region.startLine).toBeGreaterThan(0)
      expect(physicalLocation.region.startColumn).toBeGreaterThan(0)
    }
  })

  it('carries the page of each rule in SARIF: a log is read where no repository is', async () => {
    const { out } = await run('policy', 'lint', '-f', fixture('wide-wildcard'), '-o', 'sarif')
    for (const { id, help } of JSON.parse(out).runs[0].tool.driver.rules) {
      const { title, why, fix } = lintRules[id as LintId]
      for (const text of [help.text, help.markdown])
        for (const part of [title, why, fix, lintPage(id)]) expect(text).toContain(part)
      expect(help.markdown).toMatch(/^# [\w-]+\n\n/)
    }
  })

  it.each([
    ['a b/w#?%é.yaml', 'a%20b/w%23%3F%25%C3%A9.yaml'],
    ['./a\\b.yaml', 'a/b.yaml'],
    ['C:\\a\\b.yaml', 'file:///C:/a/b.yaml'],
    ['a:b.yaml', './a:b.yaml'],
    ['a/b:c.yaml', 'a/b:c.yaml'],
  ])('writes %s as a URI in SARIF', (file, uri) => {
    const finding = {
      ...lintRules['wide-wildcard'],
      id: 'wide-wildcard',
      kind: 'AuthorizationPolicy',
      policy: 'a/b',
      path: 'spec',
      position: { file, line: 1, column: 1 },
      message: '',
      url: '',
    } as const
    expect(sarifOf([finding], '1.0.0')).toMatchObject({
      runs: [{ results: [{ locations: [{ physicalLocation: { artifactLocation: { uri } } }] }] }],
    })
  })

  it('is valid SARIF without findings too', async () => {
    const { code, out } = await run(
      'policy',
      'lint',
      '-f',
      fixture('wide-wildcard'),
      '--disable',
      'wide-wildcard',
      '-o',
      'sarif',
    )
    expect([code, JSON.parse(out).runs[0].results]).toEqual([0, []])
  })

  it('prints YAML', async () => {
    const { out } = await run('policy', 'lint', '-f', fixture('empty-selector'), '-o', 'yaml')
    expect(out).toContain('id: empty-selector')
  })
})

describe('exit codes', () => {
  it('0 without findings that count', async () => {
    const { code, out } = await run('policy', 'lint', '-f', fixture('l4-deny-wider'), '--severity', 'error')
    expect([code, out]).toEqual([0, 'no findings\n'])
  })

  it('2 for a rule that does not exist, and for no files', async () => {
    const { code, err } = await run('policy', 'lint', '-f', fixture('l4-deny-wider'), '--disable', 'no-such')
    expect([code, err]).toEqual([2, expect.stringContaining('no rule has this id')])
    expect((await run('policy', 'lint')).code).toBe(2)
  })

  it('says nothing of providers that nobody named, and of those that were named nothing bad', async () => {
    const { code } = await run('policy', 'lint', '-f', fixture('unknown-provider'), '--provider', 'oauth')
    expect(code).toBe(0)
  })
})

it('--require-waypoint: the control plane allows the waypoint', async () => {
  const { code } = await run('policy', 'lint', '-f', fixture('waypoint-not-allowed'), '--require-waypoint')
  expect(code).toBe(0)
})

describe('--fix', () => {
  it.each(['principal-with-scheme', 'method-case'])(
    '%s: nothing is left to find, and comments stay',
    async id => {
      const file = join(folder, 'policy.yaml')
      await copyFile(fixture(id), file)
      const { code, out, err } = await run('policy', 'lint', '-f', file, '--fix')
      expect([code, out]).toEqual([0, 'no findings\n'])
      expect(err).toContain('1 finding fixed')
      const before = await readFile(fixture(id), 'utf8')
      const after = await readFile(file, 'utf8')
      expect(after).toBe(before.replace('spiffe://', '').replace('- get', '- GET'))
    },
  )
})

describe('pages', () => {
  for (const id of Object.keys(lintRules) as LintId[])
    it(`${id} is written from the table and the seeded mistake`, async () => {
      await expect(pageOf(id)).toMatchFileSnapshot(join(root, lintPage(id)))
    })

  it('there are no others, and a list of them', async () => {
    const ids = Object.keys(lintRules)
    const pages = readdirSync(join(root, 'docs/lint')).filter(name => name !== 'README.md')
    expect(pages.map(name => name.replace(/\.md$/, '')).sort()).toEqual([...ids].sort())
    await expect(listOf(ids as LintId[])).toMatchFileSnapshot(join(root, 'docs/lint/README.md'))
  })
})

function pageOf(id: LintId): string {
  const { title, severity, why, fix } = lintRules[id]
  const { needsMesh } = lintRules[id] as { readonly needsMesh?: boolean }
  const mesh =
    needsMesh === true
      ? '\nNeeds to know the mesh: workloads, services or gateways beside the policies.\n'
      : ''
  const found = existsSync(fixture(id)) ? example(id) : ''
  return `# ${id}\n\n${title}. Severity: ${severity}.\n${mesh}\n## Why\n\n${why}\n\n## What to do\n\n${fix}\n${found}`
}

/** The policies of the seeded mistake; the manifests beside them are left out. */
function example(id: LintId): string {
  const documents = readFileSync(fixture(id), 'utf8').split(/^---\n/m)
  const policies = documents.filter(text => /^kind: (\w+Policy|\w+Authentication|ConfigMap)$/m.test(text))
  return `\n## Example\n\nFound in the marked lines:\n\n\`\`\`yaml\n${policies.join('---\n')}\`\`\`\n`
}

function listOf(ids: readonly LintId[]): string {
  const rows = ids.map(
    id =>
      `| [\`${id}\`](${id}.md) | ${lintRules[id].severity} | ${lintRules[id].title.replaceAll('|', '\\|')} |`,
  )
  return `# Rules of \`ambient policy lint\`\n\nThese pages are written by \`packages/cli/test/policy-lint-output.test.ts\` from \`packages/policy/src/lint/catalog.ts\`; run it with\n\`-u\` after a change there.\n\n| id | severity | what it finds |\n|---|---|---|\n${rows.join('\n')}\n`
}
