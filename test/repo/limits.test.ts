/** docs/limits.md is written from the tables of defaults in the sources; `vitest -u` writes it again. */
import { describe, expect, it } from 'vitest'
import { allDefaults, type DefaultValue } from './defaults.ts'
import { order, root } from './workspace.ts'

const INTRODUCTION = `# Limits and defaults

Everything that this project bounds or assumes, as it stands in each package's \`src/limits.ts\` or \`src/defaults.ts\`.
Written from those files by \`test/repo/limits.test.ts\`: to change a row, change the source and run
\`npx vitest run --config .config/vitest.config.ts test/repo/limits.test.ts -u\`.

Names end in their unit: \`…Ms\` is milliseconds, \`…Bytes\` bytes.
`

describe('defaults', async () => {
  const defaults = await allDefaults()

  it('are found', () => expect(defaults.length).toBeGreaterThan(50))

  it('have a reason each', () => {
    const silent = defaults.filter(entry => entry.reason.length < 8)
    expect(silent.map(entry => `@ambient/${entry.package} ${entry.name}`)).toEqual([])
  })

  it('say their unit in their name', () => {
    const vague = defaults.filter(
      ({ name, value }) =>
        typeof value === 'number' && /(time|timeout|delay|interval|ttl|size|length)$/i.test(name),
    )
    // Lengths in characters have no unit to say.
    expect(vague.filter(({ name }) => !/Length$/.test(name)).map(({ name }) => name)).toEqual([])
  })

  it('are what docs/limits.md says', async () => {
    await expect(document(defaults)).toMatchFileSnapshot(`${root}/docs/limits.md`)
  })
})

function document(defaults: readonly DefaultValue[]): string {
  const sections = order.flatMap(name => {
    const rows = defaults.filter(entry => entry.package === name)
    return rows.length === 0 ? [] : [section(name, rows)]
  })
  return [INTRODUCTION, ...sections].join('\n')
}

function section(name: string, rows: readonly DefaultValue[]): string {
  const lines = rows.map(
    ({ name: key, value, reason }) => `| \`${key}\` | ${cell(shownValue(key, value))} | ${cell(reason)} |`,
  )
  return [`## @ambient/${name}`, '', '| name | default | reason |', '|---|---|---|', ...lines, ''].join('\n')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

function shownValue(name: string, value: unknown): string {
  if (typeof value !== 'number') return `\`${JSON.stringify(value)}\``
  const number = /port/i.test(name) ? String(value) : value.toLocaleString('en-US')
  const human = /Ms$/.test(name) ? duration(value) : /Bytes$/.test(name) ? size(value) : undefined
  return human === undefined ? number : `${number} (${human})`
}

function duration(ms: number): string | undefined {
  if (ms < 1000) return undefined
  const units = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1000, 's'],
  ] as const
  const [unit, suffix] = units.find(([length]) => ms >= 2 * length || ms === length) ?? units[3]
  return `${Number((ms / unit).toFixed(1))} ${suffix}`
}

function size(bytes: number): string | undefined {
  if (bytes < 1024) return undefined
  const [unit, suffix] = bytes >= 1 << 20 ? ([1 << 20, 'MiB'] as const) : ([1024, 'KiB'] as const)
  return `${Number((bytes / unit).toFixed(1))} ${suffix}`
}
