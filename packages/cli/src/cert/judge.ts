/** One question of `ambient cert verify`, from words to a verdict: what cannot be read is a refusal like any other. */
import { quoteText, readTrustDomain } from '@ambient/core'
import { type ChainExplanation, type ChainRule, explainChain, type Revocations } from '@ambient/identity'
import { readBundleFile, readChainFile } from './chain-files.ts'
import { readTime } from './time.ts'

/** As somebody wrote it; nothing is known to be right. */
export interface VerifyQuestion {
  readonly chain: string
  readonly bundle: string
  readonly trustDomain: string
  /** Files of bundles of other trust domains. */
  readonly bundles: readonly (readonly [trustDomain: string, file: string])[]
  /** The role of the certificate's holder. */
  readonly purpose: string
  /** RFC 3339. */
  readonly at: string | undefined
}

/** Rules of the question itself, before a chain is looked at. */
export type InputRule =
  | 'entry'
  | 'purpose'
  | 'trust-domain-name'
  | 'time'
  | 'chain-readable'
  | 'bundle-readable'

/** What scripts read. */
export interface VerifyAnswer {
  readonly valid: boolean
  readonly id?: string
  readonly rule?: ChainRule | InputRule
  readonly certificate?: string
  readonly message?: string
}

export interface Judged {
  readonly answer: VerifyAnswer
  /** Absent when the question could not be asked. */
  readonly explanation?: ChainExplanation
}

const PURPOSES: readonly string[] = ['client', 'server']

/** `nowMs` is for questions that name no time. Never throws. */
export function judge(question: VerifyQuestion, nowMs: number, revocations?: Revocations): Judged {
  if (!PURPOSES.includes(question.purpose))
    return refused('purpose', `expected client or server, found ${quoteText(question.purpose)}`)
  const own = readTrustDomain(question.trustDomain)
  if (!own.ok)
    return refused('trust-domain-name', `trust domain ${quoteText(question.trustDomain)}: ${own.reason}`)
  const now = question.at === undefined ? nowMs : readTime(question.at)
  if (now === undefined)
    return refused('time', `expected a time of RFC 3339, found ${quoteText(question.at ?? '')}`)
  const chain = readChainFile(question.chain)
  if (!chain.ok) return refused('chain-readable', `chain ${chain.message}`, 'chain')
  const bundle = readBundleFile(question.bundle, own.trustDomain)
  if (!bundle.ok) return refused('bundle-readable', `bundle ${bundle.message}`, 'bundle')
  const federated = readFederated(question.bundles)
  if (!federated.ok) return federated.judged
  const explanation = explainChain({
    chain: chain.chain,
    trustBundle: bundle.pem,
    ownTrustDomain: own.trustDomain,
    federatedBundles: federated.bundles,
    // Both purposes ask for the same: X509-SVIDs are for servers and clients alike.
    expect: { kind: 'any' },
    ...(revocations === undefined ? {} : { revocations }),
    now,
  })
  return { answer: answerOf(explanation), explanation }
}

/** A question that is none. */
export function refused(rule: InputRule, message: string, certificate?: string): Judged {
  return { answer: { valid: false, rule, ...(certificate === undefined ? {} : { certificate }), message } }
}

export function answerOf({ verdict }: ChainExplanation): VerifyAnswer {
  if (verdict.ok) return { valid: true, id: verdict.id.uri }
  const { rule, certificate, reason } = verdict
  return { valid: false, rule, certificate, message: reason }
}

type Federated =
  | { readonly ok: true; readonly bundles: ReadonlyMap<string, string> }
  | { readonly ok: false; readonly judged: Judged }

export function readFederated(files: VerifyQuestion['bundles']): Federated {
  const bundles = new Map<string, string>()
  for (const [name, file] of files) {
    const domain = readTrustDomain(name)
    if (!domain.ok) {
      const message = `trust domain ${quoteText(name)} of a bundle: ${domain.reason}`
      return { ok: false, judged: refused('trust-domain-name', message) }
    }
    const bundle = readBundleFile(file, domain.trustDomain)
    if (!bundle.ok)
      return { ok: false, judged: refused('bundle-readable', `bundle ${bundle.message}`, 'bundle') }
    bundles.set(domain.trustDomain, bundle.pem)
  }
  return { ok: true, bundles }
}
