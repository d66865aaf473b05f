/** The rules of X509-SVID that a leaf must keep, whoever signed it. SPIFFE X509-SVID §2–§5, RFC 5280 §4.2. */
import { messageOf, quoteText, readSpiffeId, type SpiffeId, type SpiffeIdResult } from '@ambient/core'
import { type Certificate, type GeneralName, generalName, keyUsageBits, oids } from '../x509/certificate.ts'
import { keyFacts, keyProblem } from '../x509/key-rules.ts'
import { type BrokenChainRule, fail, firstBroken, holds, pass, type Rule, skip } from './rules.ts'

export type { BrokenRule } from './rules.ts'

export type LeafVerdict =
  | { readonly ok: true; readonly id: SpiffeId }
  | ({ readonly ok: false } & BrokenChainRule)

/** Far above what an ID may have, so that the ID's own rule gives the reason. */
const MAX_SHOWN = 120

/** Rules for every certificate of a path. */
export const commonRules: readonly Rule<Certificate>[] = [
  {
    name: 'critical-extensions',
    problem: 'malformed',
    check: ({ unknownCritical: [unknown] }) =>
      unknown === undefined
        ? pass('none that is not understood')
        : fail(`critical extension ${unknown} is not understood`),
  },
  {
    name: 'key-strength',
    problem: 'weak-key',
    check: ({ x509 }) => {
      try {
        const problem = keyProblem(x509.publicKey)
        return problem === undefined ? pass(keyFacts(x509.publicKey)) : fail(problem)
      } catch (cause) {
        return fail(`its public key cannot be read: ${messageOf(cause)}`)
      }
    },
  },
]

const identityRules: readonly Rule<Certificate>[] = [
  {
    name: 'uri-san',
    problem: 'uri-san',
    check: leaf => {
      const [uri, ...others] = uriNames(leaf)
      if (uri === undefined) return fail('has no URI in its subject alternative name')
      if (others.length > 0)
        return fail(`has ${others.length + 1} URIs where a SPIFFE certificate has exactly one`)
      return pass(`exactly one URI, ${shown(uri)}`)
    },
  },
  {
    name: 'san-critical',
    problem: 'uri-san',
    check: ({ subjectAltName, subjectIsEmpty }) => {
      if (subjectAltName === undefined) return skip('no subject alternative name')
      if (!subjectIsEmpty) return pass('need not be: the certificate has a subject')
      return holds(
        subjectAltName.critical,
        'critical, as it is due beside an empty subject',
        'its subject is empty, so its subject alternative name must be critical',
      )
    },
  },
  {
    name: 'spiffe-id',
    problem: 'spiffe-id',
    check: leaf => {
      const uri = onlyUri(leaf)
      if (uri === undefined) return skip('not exactly one URI')
      const read = readUri(uri)
      return read.ok ? pass(read.id.uri) : fail(`its URI ${shown(uri)} is not a SPIFFE ID: ${read.reason}`)
    },
  },
  {
    name: 'spiffe-id-path',
    problem: 'spiffe-id',
    check: leaf => {
      const id = leafId(leaf)
      if (id === undefined) return skip('no SPIFFE ID')
      return holds(
        id.path !== '',
        `names the workload ${id.path}`,
        `its SPIFFE ID ${id.uri} names a trust domain, not a workload`,
      )
    },
  },
]

const usageRules: readonly Rule<Certificate>[] = [
  {
    name: 'basic-constraints',
    problem: 'basic-constraints',
    check: ({ basicConstraints }) =>
      holds(
        basicConstraints?.ca !== true,
        basicConstraints === undefined ? 'none: no CA' : 'CA:FALSE',
        'is a CA certificate (CA:TRUE) where a workload certificate is due',
      ),
  },
  {
    name: 'key-usage',
    problem: 'key-usage',
    check: ({ keyUsage }) => holds(keyUsage !== undefined, 'present', 'has no key usage'),
  },
  {
    name: 'key-usage-critical',
    problem: 'key-usage',
    check: ({ keyUsage }) =>
      keyUsage === undefined
        ? skip('no key usage')
        : holds(keyUsage.critical, 'critical', 'its key usage is not critical'),
  },
  usageWithout('key-usage-cert-sign', 'keyCertSign'),
  usageWithout('key-usage-crl-sign', 'cRLSign'),
  {
    name: 'key-usage-digital-signature',
    problem: 'key-usage',
    check: ({ keyUsage }) =>
      keyUsage === undefined
        ? skip('no key usage')
        : holds(
            (keyUsage.bits & keyUsageBits.digitalSignature) !== 0,
            'digitalSignature',
            'its key usage lacks digitalSignature',
          ),
  },
  {
    name: 'extended-key-usage',
    problem: 'key-usage',
    check: ({ extendedKeyUsage: purposes }) => {
      if (purposes === undefined) return pass('none: for any purpose')
      const missing = [
        ...(purposes.includes(oids.serverAuth) ? [] : ['serverAuth']),
        ...(purposes.includes(oids.clientAuth) ? [] : ['clientAuth']),
      ]
      return holds(
        missing.length === 0,
        'serverAuth and clientAuth',
        `its extended key usage lacks ${missing.join(' and ')}`,
      )
    },
  },
]

/** Everything a leaf says about itself: identity, purpose, key. Nothing here proves who signed it. In this order. */
export const leafRules: readonly Rule<Certificate>[] = [...identityRules, ...usageRules, ...commonRules]

export function checkLeaf(leaf: Certificate, label = 'leaf'): LeafVerdict {
  const broken = firstBroken(leafRules, leaf, label)
  if (broken !== undefined) return { ok: false, ...broken }
  const id = leafId(leaf)
  // The rules above have seen to it that there is one.
  if (id === undefined) throw new TypeError('a leaf without an ID kept every rule')
  return { ok: true, id }
}

/** The SPIFFE ID of a leaf with exactly one URI that is one. */
export function leafId(leaf: Certificate): SpiffeId | undefined {
  const uri = onlyUri(leaf)
  if (uri === undefined) return undefined
  const read = readUri(uri)
  return read.ok ? read.id : undefined
}

/** The URIs of a subject alternative name, each as it stands there. */
export function uriNames({ subjectAltName }: Certificate): readonly GeneralName[] {
  return (subjectAltName?.names ?? []).filter(name => name.tag === generalName.uri)
}

/** Latin-1 keeps one character per byte; the ID's own rules refuse everything beyond ASCII. */
export function readUri(name: GeneralName): SpiffeIdResult {
  return readSpiffeId(textOf(name))
}

function onlyUri(leaf: Certificate): GeneralName | undefined {
  const [uri, ...others] = uriNames(leaf)
  return others.length === 0 ? uri : undefined
}

function textOf({ value }: GeneralName): string {
  return Buffer.from(value).toString('latin1')
}

/** As text that harms no log. */
export function shown(name: GeneralName): string {
  return quoteText(textOf(name).slice(0, MAX_SHOWN))
}

function usageWithout(name: Rule<Certificate>['name'], bit: 'keyCertSign' | 'cRLSign'): Rule<Certificate> {
  return {
    name,
    problem: 'key-usage',
    check: ({ keyUsage }) =>
      keyUsage === undefined
        ? skip('no key usage')
        : holds(
            (keyUsage.bits & keyUsageBits[bit]) === 0,
            `no ${bit}`,
            `its key usage has ${bit}, which is for CAs`,
          ),
  }
}
