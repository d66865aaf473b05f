/** The dimensions whose values are texts: which texts exist in each, and what each form of a policy's value takes. */
import type { Atom } from './formula.ts'
import type { TextAtom, TextDomain } from './text-automaton.ts'
import {
  anyChar,
  anything,
  type CharSet,
  charClass,
  globText,
  istioText,
  literal,
  many,
  one,
  somethingOf,
  spiffePathChar,
  spiffeSegmentChar,
  templateText,
  type TextPattern,
  trustDomainChar,
} from './text-pattern.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'
import { isPathTemplate } from '../waypoint/path-template.ts'

export interface TextDimension {
  readonly domain: TextDomain
  /** Texts that read well, where they belong to a class. */
  readonly readable: readonly string[]
  /** Single texts beside the domain. */
  readonly also?: readonly string[]
  /** A narrower domain whose texts read better, tried after the exact one. */
  readonly familiar?: TextDomain
  patternsOf(atom: Atom): readonly TextPattern[]
}

const SCHEME = literal('spiffe://')
const trustDomainPart: TextPattern = [...SCHEME, ...somethingOf(trustDomainChar)]
const blank = charClass(/[\t ]/)
const notQuery = charClass(/[^?#]/)
const upperCase = charClass(/[^a-z0-9._/-]/)

const principalDomain: TextDomain = {
  required: [[...trustDomainPart, many(spiffePathChar)]],
  forbidden: [
    [...SCHEME, many(trustDomainChar), one(upperCase), ...anything],
    [...trustDomainPart, many(spiffePathChar), ...literal('//'), ...anything],
    [...trustDomainPart, many(spiffePathChar), ...literal('/')],
    ...['/.', '/..'].flatMap(dots => [
      [...trustDomainPart, many(spiffePathChar), ...literal(dots)],
      [...trustDomainPart, many(spiffePathChar), ...literal(`${dots}/`), ...anything],
    ]),
  ],
}

const principal: TextDimension = {
  domain: principalDomain,
  familiar: { ...principalDomain, required: [inIstioForm(somethingOf(spiffeSegmentChar))] },
  readable: ['default', 'other'].map(account => `spiffe://cluster.local/ns/${account}/sa/${account}`),
  patternsOf({ form, values }) {
    switch (form) {
      case 'namespace':
        return values.map(value => globText(`*/ns/${value}/*`))
      case 'istio-form':
        return [inIstioForm(somethingOf(spiffeSegmentChar))]
      case 'l4-namespace':
        return values.flatMap(value =>
          value.includes('/')
            ? []
            : [inIstioForm(istioText(value, { star: 'not-empty', chars: spiffeSegmentChar }))],
        )
      case 'account':
        return values.flatMap(accountAnywhere)
      case 'l4-account':
        return values.map(value => {
          const [namespace = '', account = ''] = value.split('/', 2)
          return [...trustDomainPart, ...literal(`/ns/${namespace}/sa/${account}`)]
        })
      case 'trust-domain':
        return values.flatMap(value => {
          const domain = [...SCHEME, ...istioText(value, { star: 'not-empty', chars: trustDomainChar })]
          return [domain, [...domain, ...literal('/'), ...anything]]
        })
      default:
        return values.map(principalPattern)
    }
  },
}

/** A suffix cannot reach into the scheme. */
function principalPattern(value: string): TextPattern {
  if (value === '*') return somethingOf(anyChar)
  if (value.startsWith('*')) return [...SCHEME, ...anything, ...literal(value.slice(1))]
  return [...SCHEME, ...istioText(value, { star: 'not-empty' })]
}

/** As Envoy's regular expression has it: the account is looked for behind the namespace, wherever both are. */
function accountAnywhere(value: string): readonly TextPattern[] {
  const [namespace = '', account = ''] = value.split('/', 2)
  const begin = [...SCHEME, ...somethingOf(anyChar), ...literal(`/ns/${namespace}/`)]
  const between = [[], [...somethingOf(anyChar), ...literal('/')]]
  const after = [[], [...literal('/'), ...somethingOf(anyChar)]]
  return between.flatMap(middle =>
    after.map(end => [...begin, ...middle, ...literal(`sa/${account}`), ...end]),
  )
}

function inIstioForm(namespace: TextPattern): TextPattern {
  const account = somethingOf(spiffeSegmentChar)
  return [...trustDomainPart, ...literal('/ns/'), ...namespace, ...literal('/sa/'), ...account]
}

function plain(chars: CharSet, readable: readonly string[], empty = false): TextDimension {
  return {
    domain: { required: [empty ? [many(chars)] : somethingOf(chars)], forbidden: [] },
    readable,
    patternsOf: ({ form, values }) => values.map(value => plainPattern(form, value)),
  }
}

/** `exact`, `prefix` and `suffix` are for values in which a star is a star. */
function plainPattern(form: string, value: string): TextPattern {
  switch (form) {
    case 'exact':
      return literal(value)
    case 'prefix':
      return [...literal(value), ...anything]
    case 'suffix':
      return [...anything, ...literal(value)]
    default:
      return istioText(value, {
        star: form === 'not-empty' ? 'not-empty' : 'present',
        caseless: form === 'caseless',
      })
  }
}

const method = plain(charClass(/[!#$%&'*+.^_`|~0-9A-Za-z-]/), ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'])
/** Servers differ in what they refuse beyond ASCII: what one of them lets through exists. */
const host = plain(charClass(/[!-~\u0080-\uffff]/), ['example.com', 'web', 'api.example.com'])
/** No proxy asks whether it is a name. */
const sni = plain(charClass(/[^\0]/), ['example.com', 'web'], true)
/** Bytes beyond ASCII may be part of it, as the text that they are in UTF-8; blanks at the ends are not. */
const headerValue: TextDimension = {
  ...plain(charClass(/[\t -~\u0080-\uffff]/), ['x', 'value', 'true'], true),
  domain: {
    required: [[many(charClass(/[\t -~\u0080-\uffff]/))]],
    forbidden: [
      [one(blank), ...anything],
      [...anything, one(blank)],
    ],
  },
}
/** Of a token, where JSON holds any text: issuer, subject, and the elements of other claims. */
const claim = plain(anyChar, ['x', 'value'], true)
const issuer = plain(anyChar, ['https://issuer.example'], true)

export function textDimension(
  dimension: string,
  atoms: readonly Atom[],
  normalization: PathNormalization,
): TextDimension {
  switch (dimension) {
    case 'principal':
      return principal
    case 'method':
      return method
    case 'host':
      return host
    case 'sni':
      return sni
    case 'path':
      return pathDimension(
        atoms.some(({ form }) => form === 'target'),
        normalization,
      )
    case 'jwt.iss':
      return issuer
    default:
      return dimension.startsWith('header:') ? headerValue : claim
  }
}

/** What can come out of normalization; the query is part of it only when an atom looks at it. */
function pathDimension(query: boolean, normalization: PathNormalization): TextDimension {
  const raw = normalization === 'NONE'
  const chars = charClass(raw ? /[!-"$->@-~ ]/ : /[!$-;=@-[\]_a-z~]/)
  const path: TextPattern = [...literal('/'), many(chars)]
  const parts = query ? charClass(raw ? /[ -"$-~]/ : /[ -"$-~]/) : chars
  const end = (pattern: TextPattern): readonly TextPattern[] =>
    query ? [pattern, [...pattern, ...literal('?'), ...anything]] : [pattern]
  const merged = normalization === 'MERGE_SLASHES' || normalization === 'DECODE_AND_MERGE_SLASHES'
  const inPath: TextPattern = [many(notQuery)]
  const forbidden = raw
    ? []
    : ['.', '..'].flatMap(dots => [
        ...end([...inPath, ...literal(`/${dots}`)]),
        [...inPath, ...literal(`/${dots}/`), ...anything],
      ])
  const slashes = merged
    ? [
        [...inPath, one(notSlash), ...literal('//'), ...anything],
        [...literal('//'), one(charClass(/[^?]/)), ...anything],
      ]
    : []
  return {
    domain: {
      required: [query ? [...literal('/'), many(parts)] : path],
      forbidden: [
        ...forbidden,
        ...slashes,
        ...(raw ? [] : escapesThatGo(normalization)).map(gone => [...inPath, ...gone, ...anything]),
        ...(query ? [[...inPath, one(charClass(raw ? /[#]/ : /["#<>^`{|}\\ ]/)), ...anything]] : []),
      ],
    },
    readable: ['/', '/other', '/a', '/a/b'],
    // OPTIONS asks for it.
    also: ['*'],
    patternsOf: ({ form, values }) =>
      form === 'target'
        ? values.map(value => istioText(value, { star: 'present' }))
        : values.flatMap(value => (/[?#]/.test(value) ? [] : end(pathPattern(value)))),
  }
}

/** Of unreserved characters, which are unescaped; of NUL, which is refused; of slashes where they are decoded. */
function escapesThatGo(normalization: PathNormalization): readonly TextPattern[] {
  const byte = (first: RegExp, second: RegExp): TextPattern => [
    ...literal('%'),
    one(charClass(first)),
    one(charClass(second)),
  ]
  const slashes = [byte(/2/, /[Ff]/), byte(/5/, /[Cc]/)]
  return [
    byte(/[46]/, /[1-9A-Fa-f]/),
    byte(/[57]/, /[0-9Aa]/),
    byte(/3/, /[0-9]/),
    byte(/2/, /[DEde]/),
    byte(/5/, /[Ff]/),
    byte(/7/, /[Ee]/),
    byte(/0/, /0/),
    ...(normalization === 'DECODE_AND_MERGE_SLASHES' ? slashes : []),
  ]
}

const notSlash = charClass(/[^/?]/)

function pathPattern(value: string): TextPattern {
  return isPathTemplate(value)
    ? templateText(value)
    : istioText(value, { star: 'not-empty', chars: notQuery })
}

export function textAtom(dimension: TextDimension, atom: Atom): TextAtom {
  return { id: atom.id, patterns: dimension.patternsOf(atom) }
}
