/** The rules of a chain as a whole: what was sent, which bundle has to prove it, whether it is who was expected. */
import type { PeerExpectation, PeerProblem, SpiffeId } from '@ambient/core'
import { verifyLimits } from '../defaults.ts'
import type { TrustedDomains } from './anchors.ts'
import { fail, holds, pass, type Rule } from './rules.ts'

/** Rules of what was sent, before a certificate of it is read. */
export const presentedRules: readonly Rule<readonly Uint8Array[]>[] = [
  {
    name: 'chain-bytes',
    problem: 'malformed',
    check: chain => {
      const bytes = chain.reduce((total, der) => total + der.length, 0)
      const text = `${bytes} bytes, at most ${verifyLimits.maxChainBytes}`
      return holds(bytes <= verifyLimits.maxChainBytes, text, text)
    },
  },
  {
    name: 'chain-length',
    problem: 'malformed',
    check: ({ length }) => {
      const text = `${length} certificates, at most ${verifyLimits.maxPathLength}`
      return holds(length <= verifyLimits.maxPathLength, text, text)
    },
  },
]

interface Domains {
  readonly id: SpiffeId
  readonly domains: TrustedDomains
  readonly ownTrustDomain: string
}

/** Which bundle it is that has to prove the leaf. */
export const bundleRules: readonly Rule<Domains>[] = [
  {
    name: 'trust-domain',
    problem: 'trust-domain',
    check: ({ id: { trustDomain }, domains, ownTrustDomain }) => {
      if (!domains.has(trustDomain)) return fail(`trust domain is not ours, ${ownTrustDomain}`)
      const isOurs = trustDomain === ownTrustDomain
      return pass(isOurs ? `${trustDomain} is ours` : `the bundle of ${trustDomain} is known`)
    },
  },
  {
    name: 'trust-bundle',
    problem: 'untrusted',
    check: ({ id: { trustDomain }, domains }) => {
      const count = domains.get(trustDomain)?.anchors.length ?? 0
      return holds(
        count > 0,
        `${count} certificates in the bundle of ${trustDomain}`,
        'the trust bundle holds no certificate that can be read',
      )
    },
  },
]

interface Expected {
  readonly id: SpiffeId
  readonly expect: PeerExpectation
  readonly ownTrustDomain: string
}

/** Whether this is who was expected. Proven it is. */
export const expectationRule: Rule<Expected> = {
  name: 'expectation',
  problem: 'unexpected-identity',
  check: ({ id, expect, ownTrustDomain }) => {
    switch (expect.kind) {
      case 'any':
        return pass('any identity is good enough')
      case 'one-of':
        return holds(
          expect.ids.some(expected => expected.uri === id.uri),
          `${id.uri} is expected`,
          `peer is ${id.uri}, expected ${expect.ids.map(expected => expected.uri).join(' or ') || 'nobody'}`,
        )
      case 'own-trust-domain':
        return holds(
          id.trustDomain === ownTrustDomain,
          `any identity of ${ownTrustDomain} is good enough`,
          `${id.uri}: trust domain is not ours, ${ownTrustDomain}`,
        )
      case 'member-of':
        return holds(
          id.trustDomain === expect.trustDomain,
          `any identity of ${expect.trustDomain} is good enough`,
          `peer is ${id.uri}, expected a member of ${expect.trustDomain}`,
        )
    }
  },
}

/** What it is to be somebody else. */
export function unexpectedProblem({ kind }: PeerExpectation): PeerProblem {
  return kind === 'own-trust-domain' ? 'trust-domain' : 'unexpected-identity'
}
