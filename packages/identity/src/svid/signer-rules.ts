/** The rules of whoever signs certificates: intermediates and trust anchors. RFC 5280 §6.1, SPIFFE X509-SVID §3. */
import { type Certificate, keyUsageBits, oids } from '../x509/certificate.ts'
import { verifyLimits } from '../defaults.ts'
import { commonRules, readUri, shown, uriNames } from './leaf-rules.ts'
import { nameConstraintProblem } from './name-constraints.ts'
import { fail, holds, pass, type Rule, skip } from './rules.ts'

/** A certificate and how reasons call it: `leaf`, `certificate 2 of 3`, `trust anchor 1`. */
export interface Labelled {
  readonly label: string
  readonly certificate: Certificate
}

/** A certificate that is to stand above a path. */
export interface Signer {
  readonly certificate: Certificate
  /** Everything below it, the leaf first. */
  readonly below: readonly Labelled[]
  readonly isAnchor: boolean
  readonly now: number
}

/** A certificate at a moment. */
export interface Dated {
  readonly certificate: Certificate
  readonly now: number
}

/** The skew counts for the beginning only. */
export const validityRules: readonly Rule<Dated>[] = [
  {
    name: 'not-after',
    problem: 'expired',
    check: ({ certificate: { notAfter }, now }) =>
      holds(now <= notAfter, `until ${time(notAfter)}`, `expired at ${time(notAfter)}`),
  },
  {
    name: 'not-before',
    problem: 'not-yet-valid',
    check: ({ certificate: { notBefore }, now }) =>
      holds(
        now + verifyLimits.notBeforeSkewMs >= notBefore,
        `since ${time(notBefore)}`,
        `not valid before ${time(notBefore)}`,
      ),
  },
]

const authorityRules: readonly Rule<Signer>[] = [
  {
    name: 'basic-constraints',
    problem: 'basic-constraints',
    check: ({ certificate }) =>
      holds(certificate.basicConstraints?.ca === true, 'CA:TRUE', 'signs certificates but is not a CA'),
  },
  {
    name: 'path-length',
    problem: 'basic-constraints',
    check: ({ certificate, below }) => {
      const allowed = certificate.basicConstraints?.pathLength
      // Every certificate between it and the leaf counts, also the self-issued ones.
      const found = below.length - 1
      if (allowed === undefined) return pass('no limit')
      return holds(
        found <= allowed,
        `allows ${allowed} CAs below it, the path has ${found}`,
        `allows ${allowed} CAs below it, the path has ${found}`,
      )
    },
  },
  {
    name: 'key-usage-cert-sign',
    problem: 'key-usage',
    check: ({ certificate: { keyUsage }, isAnchor }) => {
      // Hand-made roots often lack key usage; that they are anchors was decided by whoever configured them.
      if (keyUsage === undefined && isAnchor) return pass('no key usage, which a trust anchor may lack')
      return holds(
        keyUsage !== undefined && (keyUsage.bits & keyUsageBits.keyCertSign) !== 0,
        'keyCertSign',
        'signs certificates without key usage keyCertSign',
      )
    },
  },
  {
    name: 'extended-key-usage',
    problem: 'key-usage',
    check: ({ certificate: { extendedKeyUsage: purposes } }) => {
      if (purposes === undefined) return pass('none: for any purpose')
      const both = purposes.includes(oids.serverAuth) && purposes.includes(oids.clientAuth)
      return holds(
        both || purposes.includes(oids.anyExtendedKeyUsage),
        both ? 'serverAuth and clientAuth' : 'any purpose',
        'its extended key usage excludes TLS servers or clients',
      )
    },
  },
  { name: 'spiffe-id', problem: 'spiffe-id', check: ({ certificate }) => signerIdentity(certificate) },
]

/** In this order. */
export const signerRules: readonly Rule<Signer>[] = [
  ...commonRules.map(rule => ({ ...rule, check: ({ certificate }: Signer) => rule.check(certificate) })),
  ...authorityRules,
  ...validityRules,
]

/** A certificate and one of those above it, near or far. */
export interface Constrained {
  readonly certificate: Certificate
  readonly signer: Labelled
}

/** Of the certificate that is named, not of the one that constrains. */
export const constraintRule: Rule<Constrained> = {
  name: 'name-constraints',
  problem: 'untrusted',
  check: ({ certificate, signer }) => {
    if (signer.certificate.nameConstraints === undefined) return skip(`${signer.label} has none`)
    const problem = nameConstraintProblem(certificate, signer.certificate)
    const of = `name constraints of ${signer.label}`
    return problem === undefined ? pass(`keeps the ${of}`) : fail(`${problem} (${of})`)
  },
}

/** A CA may carry the ID of its trust domain, never one of a workload, and nothing that looks like an ID and is none. */
function signerIdentity(certificate: Certificate): ReturnType<Rule<Signer>['check']> {
  const uris = uriNames(certificate).filter(name => /^"spiffe:/i.test(shown(name)))
  for (const name of uris) {
    const read = readUri(name)
    if (!read.ok) return fail(`a CA whose URI ${shown(name)} is not a SPIFFE ID: ${read.reason}`)
    if (read.id.path !== '') return fail(`a CA with the SPIFFE ID of a workload, ${read.id.uri}`)
  }
  const [first] = uris
  return pass(first === undefined ? 'none' : shown(first))
}

function time(at: number): string {
  return new Date(at).toISOString()
}
