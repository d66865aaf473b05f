/** One field of a rule as a formula: the same meaning as the matchers', over the dimensions of `dimension-classes.ts`. */
import type { Formula, Formulas } from './formula.ts'
import { isMappedBlock } from '../waypoint/attributes.ts'
import { asciiLowerCase } from '../waypoint/facts.ts'
import { claimPathOf } from '../waypoint/jwt-claims.ts'
import { expandPrincipals, expandTrustDomains, type TrustDomains } from '../waypoint/trust-domains.ts'

export interface FieldContext {
  readonly formulas: Formulas
  /** Of the policy: what a service account without namespace means. */
  readonly namespace: string
  readonly trustDomains: TrustDomains
  /** Where a token counts: its issuer is one of an attached RequestAuthentication. */
  readonly tokenCounts: Formula
}

type ToFormula = (values: readonly string[], context: FieldContext) => Formula

const principals: ToFormula = (values, { formulas, trustDomains }) =>
  formulas.atom('principal', 'principal', expandPrincipals(values, trustDomains))
const namespaces: ToFormula = (values, { formulas }) => formulas.atom('principal', 'namespace', values)
const serviceAccounts: ToFormula = (values, { formulas, namespace }) =>
  formulas.atom(
    'principal',
    'account',
    values.map(value => (value.includes('/') ? value : `${namespace}/${value}`)),
  )
const trustDomains: ToFormula = (values, context) =>
  context.formulas.atom('principal', 'trust-domain', expandTrustDomains(values, context.trustDomains))
const ports: ToFormula = (values, { formulas }) =>
  formulas.atom('port', 'port', [...new Set(values.map(value => String(Number(value))))])
const hosts: ToFormula = (values, { formulas }) =>
  formulas.atom('host', 'caseless', values.map(asciiLowerCase))
const claimOf =
  (path: readonly string[]): ToFormula =>
  (values, { formulas, tokenCounts }) =>
    formulas.and([tokenCounts, formulas.atom(claimDimension(path), 'not-empty', values)])

const FIELDS: Readonly<Record<string, ToFormula>> = {
  principals,
  requestPrincipals,
  namespaces,
  serviceAccounts,
  trustDomains,
  hosts,
  ports,
  ipBlocks: blocks('source.ip'),
  remoteIpBlocks: blocks('remote.ip'),
  methods: plainly('method', 'present'),
  paths: plainly('path', 'path'),
  'source.principal': principals,
  'source.namespace': namespaces,
  'source.serviceAccount': serviceAccounts,
  'source.trustDomain': trustDomains,
  'source.ip': blocks('source.ip'),
  'remote.ip': blocks('remote.ip'),
  'destination.ip': blocks('destination.ip'),
  'destination.port': ports,
  'connection.sni': plainly('sni', 'not-empty'),
  'request.auth.principal': requestPrincipals,
  'request.auth.audiences': claimOf(['aud']),
  'request.auth.presenter': claimOf(['azp']),
}

/** @param field `paths`, `notPaths`, or a `when` key. */
export function fieldFormula(
  field: string,
  negated: boolean,
  values: readonly string[],
  context: FieldContext,
): Formula {
  const name = negated ? field.replace(/^not[A-Z]/, start => start.slice(3).toLowerCase()) : field
  const formula = positive(name, values, context)
  return negated ? context.formulas.not(formula) : formula
}

function positive(name: string, values: readonly string[], context: FieldContext): Formula {
  const known = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined
  if (known !== undefined) return known(values, context)
  const header = /^request\.headers\[([^[\]]+)\]$/.exec(name)?.[1]
  if (header !== undefined) return headerFormula(asciiLowerCase(header), values, context)
  const claim = claimPathOf(name)
  // Metadata of Envoy's filters: nothing here has any.
  return claim === undefined ? context.formulas.never : claimOf(claim)(values, context)
}

function plainly(dimension: string, form: string): ToFormula {
  return (values, { formulas }) => formulas.atom(dimension, form, values)
}

/** To Envoy an IPv4-mapped block is one of IPv6, in which no caller is. */
function blocks(dimension: string): ToFormula {
  return (values, { formulas }) =>
    formulas.atom(
      dimension,
      'address',
      values.filter(value => !isMappedBlock(value)),
    )
}

/** Pseudo headers are what they stand for; the authority as `host` is compared with its case. */
function headerFormula(name: string, values: readonly string[], { formulas }: FieldContext): Formula {
  switch (name) {
    case 'host':
    case ':authority':
      return formulas.atom('host', 'present', values)
    case ':method':
      return formulas.atom('method', 'present', values)
    case ':path':
      return formulas.atom('path', 'target', values)
    default:
      return formulas.atom(`header:${name}`, 'present', values)
  }
}

/** Issuer and subject are one text each, every other claim may be a list. */
function claimDimension(path: readonly string[]): string {
  const [name = ''] = path
  return path.length === 1 && (name === 'iss' || name === 'sub')
    ? `jwt.${name}`
    : `claim:${JSON.stringify(path)}`
}

/** Pairs of issuer and subject, split at the last slash; a star counts at the very ends of the whole value only. */
function requestPrincipals(values: readonly string[], { formulas, tokenCounts }: FieldContext): Formula {
  const pairs = values.map(value => {
    const slash = value.lastIndexOf('/')
    const [iss, sub] = slash < 0 ? [value, ''] : [value.slice(0, slash), value.slice(slash + 1)]
    const { issuer, subject } = pairOf(value, slash, iss, sub)
    return formulas.and([
      formulas.atom('jwt.iss', issuer[0], [issuer[1]]),
      formulas.atom('jwt.sub', subject[0], [subject[1]]),
    ])
  })
  return formulas.and([tokenCounts, formulas.or(pairs)])
}

type Wanted = readonly [form: string, value: string]

const some: Wanted = ['not-empty', '*']

function pairOf(
  value: string,
  slash: number,
  iss: string,
  sub: string,
): { readonly issuer: Wanted; readonly subject: Wanted } {
  if (value === '*') return { issuer: some, subject: some }
  if (value.startsWith('*')) {
    if (slash < 0) return { issuer: some, subject: ['suffix', value.slice(1)] }
    return { issuer: iss === '*' ? some : ['suffix', iss.slice(1)], subject: ['exact', sub] }
  }
  if (value.endsWith('*')) {
    if (slash < 0) return { issuer: ['prefix', value.slice(0, -1)], subject: some }
    return { issuer: ['exact', iss], subject: sub === '*' ? some : ['prefix', sub.slice(0, -1)] }
  }
  return { issuer: ['exact', iss], subject: ['exact', sub] }
}
