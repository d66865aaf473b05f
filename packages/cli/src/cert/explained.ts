/** A chain explained rule by rule, as lines for people. */
import type { CertificateFacts, ChainExplanation, ExplainedRule } from '@ambient/identity'
import { escapeUnseen } from '@ambient/core'
import { formatTable } from '../table.ts'

/** The certificates, then every rule. */
export function explainedText(
  certificates: readonly CertificateFacts[],
  rules: readonly ExplainedRule[],
): string {
  return `${certificates.map(factsText).join('')}${rulesTable(rules)}`
}

/** What it comes to, in one line. */
export function verdictText({ verdict }: ChainExplanation): string {
  return verdict.ok
    ? `valid: ${verdict.id.uri} until ${new Date(verdict.notAfter).toISOString()}`
    : `NOT valid: ${escapeUnseen(verdict.reason)}`
}

function factsText(facts: CertificateFacts): string {
  const lines = [
    `${facts.certificate}: ${facts.uris.join(', ') || facts.subject || 'no name'}`,
    `  subject ${facts.subject || '(empty)'}, issuer ${facts.issuer || '(empty)'}`,
    `  valid ${facts.notBefore} to ${facts.notAfter}, ${facts.isCa ? 'CA, ' : ''}${facts.key}`,
    ...(facts.dnsNames.length === 0 ? [] : [`  DNS ${facts.dnsNames.join(', ')}`]),
    `  serial ${facts.serial}, SHA-256 ${facts.fingerprint}`,
  ]
  return `${lines.join('\n')}\n`
}

const WORDS: Readonly<Record<ExplainedRule['outcome'], string>> = { pass: 'pass', fail: 'FAIL', skip: 'skip' }

function rulesTable(rules: readonly ExplainedRule[]): string {
  return formatTable([
    ['RESULT', 'CERTIFICATE', 'RULE', 'WHY'],
    ...rules.map(({ outcome, certificate, rule, detail }) => [
      WORDS[outcome],
      certificate,
      rule,
      escapeUnseen(detail),
    ]),
  ])
}
