/** The specification of HBONE and the cases that ask for it belong together: numbers, levels, roles, and what no case asks. */
import { type ConformanceCase, clientCases, serverCases } from '@ambient/hbone/conformance'
import { describe, expect, it } from 'vitest'
import { read, root } from './workspace.ts'

interface Requirement {
  readonly id: string
  readonly role: string
  readonly level: string
}

const requirements: readonly Requirement[] = [
  ...read(`${root}/docs/hbone.md`).matchAll(/^- \*\*(HBONE-[A-Z0-9]+-\d+)\*\* \((\w+), (\w+)\): \S/gm),
].map(([, id = '', role = '', level = '']) => ({ id, role, level }))

const sides = [
  ['server', serverCases],
  ['client', clientCases],
] as const

describe('docs/hbone.md', () => {
  it('numbers each requirement once, and in order within its group', () => {
    expect(requirements.length).toBeGreaterThan(90)
    expect(new Set(requirements.map(({ id }) => id)).size).toBe(requirements.length)
    for (const [index, { id }] of requirements.entries()) {
      const [, group, number] = /^HBONE-(\w+)-(\d+)$/.exec(id) ?? []
      const before = requirements.slice(0, index).filter(one => one.id.startsWith(`HBONE-${group}-`))
      expect(`${id} is number ${before.length + 1}`).toBe(`${id} is number ${number}`)
    }
  })

  it('has the words that levels are made of, and no other', () => {
    expect(requirements.filter(({ level }) => level !== 'MUST' && level !== 'SHOULD')).toEqual([])
    expect(requirements.filter(({ role }) => !['both', 'client', 'server'].includes(role))).toEqual([])
  })

  it('mentions only requirements that it has', () => {
    const mentioned = [...read(`${root}/docs/hbone.md`).matchAll(/HBONE-[A-Z0-9]+-\d+/g)].map(([id]) => id)
    expect(mentioned.filter(id => !requirements.some(one => one.id === id))).toEqual([])
  })
})

describe('conformance cases', () => {
  it('have names of their own', () => {
    const ids = [...serverCases, ...clientCases].map(({ id }) => id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids.filter(id => !/^[a-z0-9]+([.-][a-z0-9]+)*$/.test(id))).toEqual([])
  })

  it.each(sides)('of a %s are about requirements that bind it, at their level', (side, cases) => {
    const wrong = cases.filter(one => {
      const about = requirements.find(({ id }) => id === one.requirement)
      return about?.level !== one.level || (about.role !== 'both' && about.role !== side)
    })
    expect(wrong.map(({ id, requirement, level }) => `${id}: ${requirement} ${level}`)).toEqual([])
  })

  it('are what docs/hbone-conformance.md says', async () => {
    await expect(document()).toMatchFileSnapshot(`${root}/docs/hbone-conformance.md`)
  })
})

function document(): string {
  const rows = requirements.flatMap(({ id, role, level }) => {
    const of = (cases: readonly ConformanceCase[]): string =>
      cases
        .filter(({ requirement }) => requirement === id)
        .map(one => `\`${one.id}\``)
        .join(' ')
    const [server, client] = [of(serverCases), of(clientCases)]
    return server === '' && client === '' ? [] : [`| ${id} | ${role} | ${level} | ${server} | ${client} |`]
  })
  const asked = new Set([...serverCases, ...clientCases].map(({ requirement }) => requirement))
  const unasked = requirements
    .filter(({ id }) => !asked.has(id))
    .map(({ id, role, level }) => `${id} (${role}, ${level})`)
  return [
    '# HBONE conformance cases',
    '',
    `What \`ambient hbone conformance\` asks: ${serverCases.length} cases of a server, ${clientCases.length} of a client, about ${asked.size} of the ${requirements.length} requirements of [hbone.md](hbone.md).`,
    '',
    '| requirement | binds | level | cases of a server | cases of a client |',
    '|---|---|---|---|---|',
    ...rows,
    '',
    'Without a case, because they cannot be seen from outside, need minutes or another CA, or would be an attack:',
    ...unasked.map((text, index) => `${text}${index === unasked.length - 1 ? '.' : ','}`),
    '',
    ...sides.flatMap(([side, cases]) => [
      `## Cases of a ${side}`,
      '',
      '| case | level | requirement | what |',
      '|---|---|---|---|',
      ...cases.map(
        ({ id, level, requirement, title }) => `| \`${id}\` | ${level} | ${requirement} | ${title} |`,
      ),
      '',
    ]),
  ].join('\n')
}
