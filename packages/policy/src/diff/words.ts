/** A region of requests in words: one line per thing that was told apart. */
import type { RegionChoice } from '../symbolic/compare.ts'
import type { DimensionClass } from '../symbolic/dimension-classes.ts'
import type { Atom } from '../symbolic/formula.ts'

/** More alternatives than these hide what the line says; the witness shows one of them. */
const MAX_ALTERNATIVES = 4
const MAX_VALUES = 6

const FORMS: Readonly<Record<string, string>> = {
  principal: 'principal',
  namespace: 'caller in namespace',
  'l4-namespace': 'caller in namespace',
  'istio-form': 'caller that is a workload:',
  account: 'caller with service account',
  'trust-domain': 'caller in trust domain',
}
const DIMENSIONS: Readonly<Record<string, string>> = {
  'place.namespace': 'enforced in namespace',
  'place.name': 'enforced by',
  'place.service': 'for service',
  'jwt.iss': "token's issuer",
  'jwt.sub': "token's subject",
}

/** Place first, as it was searched. */
export function constraintWords(choices: readonly RegionChoice[]): readonly string[] {
  return choices.flatMap(choice => {
    const words = choiceWords(choice)
    return words === '' ? [] : [words]
  })
}

/** Empty where nothing is excluded. */
function choiceWords({ dimension, classes, among, atoms }: RegionChoice): string {
  if (classes.length === among.length) {
    // Everything that was looked at; what all of it has in common was asked for.
    const common = atoms.filter(({ id }) => among.every(({ holds }) => holds.has(id)))
    return common.map(atom => atomWords(dimension, atom)).join(' and ')
  }
  const common = atoms.filter(({ id }) => classes.every(({ holds }) => holds.has(id)))
  const absent = atoms.filter(
    ({ id }) => !classes.some(({ holds }) => holds.has(id)) && among.some(({ holds }) => holds.has(id)),
  )
  const exact = (one: DimensionClass): boolean =>
    common.every(({ id }) => one.holds.has(id)) && !absent.some(({ id }) => one.holds.has(id))
  if (among.filter(exact).length === classes.length) return conjunction(dimension, common, absent)
  const each = classes.map(({ holds }) =>
    conjunction(
      dimension,
      atoms.filter(({ id }) => holds.has(id)),
      [],
    ),
  )
  const shown = each
    .slice(0, MAX_ALTERNATIVES)
    .map(text => (text === '' ? `any other ${name(dimension)}` : text))
  const more = each.length - shown.length
  return [...shown, ...(more > 0 ? [`${more} more`] : [])].join(', or ')
}

function conjunction(dimension: string, holding: readonly Atom[], absent: readonly Atom[]): string {
  return [
    ...holding.map(atom => atomWords(dimension, atom)),
    // Where one thing is asked for, only what would be part of it is worth excluding.
    ...absent.map(atom => `not ${atomWords(dimension, atom)}`),
  ].join(' and ')
}

function atomWords(dimension: string, { form, values }: Atom): string {
  const shown = values.slice(0, MAX_VALUES).join(', ')
  const more = values.length > MAX_VALUES ? `, and ${values.length - MAX_VALUES} more` : ''
  const sign = form === 'prefix' ? `${shown}*` : form === 'suffix' ? `*${shown}` : shown + more
  const what = dimension === 'principal' ? FORMS[form] : undefined
  return `${what ?? name(dimension)} ${sign}`
}

function name(dimension: string): string {
  if (dimension.startsWith('label:')) return `label ${dimension.slice(6)}`
  if (dimension.startsWith('header:')) return `header ${dimension.slice(7)}`
  if (dimension.startsWith('claim:')) return `claim ${dimension.slice(6)}`
  return DIMENSIONS[dimension] ?? dimension
}
