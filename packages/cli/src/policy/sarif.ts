/** Findings as SARIF 2.1.0: what code hosts show beside the changed lines. */
import {
  isLintId,
  type LintFinding,
  type LintId,
  lintPage,
  lintRules,
  type LintSeverity,
} from '@ambient/policy'

const SCHEMA = 'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json'
const LEVELS: Readonly<Record<LintSeverity, 'error' | 'warning' | 'note'>> = {
  error: 'error',
  warning: 'warning',
  info: 'note',
}

const RULES = Object.keys(lintRules)
  .filter(isLintId)
  .map(id => ({ id, rule: lintRules[id] }))

/** One run. Every rule is described, so that a rule without findings is known to have been looked for. */
export function sarifOf(findings: readonly LintFinding[], version: string): unknown {
  const ids = RULES.map(({ id }) => id)
  return {
    $schema: SCHEMA,
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'ambient policy lint',
            semanticVersion: version,
            rules: RULES.map(({ id, rule }) => ({
              id,
              name: pascal(id),
              shortDescription: { text: rule.title },
              fullDescription: { text: rule.why },
              help: helpOf(id),
              defaultConfiguration: { level: LEVELS[rule.severity] },
            })),
          },
        },
        columnKind: 'utf16CodeUnits',
        results: findings.map(finding => resultOf(finding, ids.indexOf(finding.id))),
      },
    ],
  }
}

/** The rule's page itself: whoever reads a log need not have the repository at hand. */
function helpOf(id: LintId): { readonly text: string; readonly markdown: string } {
  const { title, why, fix } = lintRules[id]
  const page = lintPage(id)
  return {
    text: `${title}.\n\nWhy: ${why}\n\nWhat to do: ${fix}\n\nWith an example: ${page} of the project.`,
    markdown: `# ${id}\n\n${title}.\n\n## Why\n\n${why}\n\n## What to do\n\n${fix}\n\nWith an example: \`${page}\` of the project.\n`,
  }
}

function resultOf(finding: LintFinding, ruleIndex: number): unknown {
  const { id, severity, message, policy, kind, path, position } = finding
  const name = `${kind}/${policy}`
  return {
    ruleId: id,
    ruleIndex,
    level: LEVELS[severity],
    message: { text: `${kind} ${policy}: ${message}` },
    partialFingerprints: { 'ambientPolicyPath/v1': `${name}#${path}` },
    locations: [
      {
        ...(position !== undefined && {
          physicalLocation: {
            artifactLocation: { uri: uriOf(position.file) },
            region: { startLine: position.line, startColumn: position.column },
          },
        }),
        logicalLocations: [{ fullyQualifiedName: `${name}#${path}`, kind: 'object' }],
      },
    ],
  }
}

/** A relative reference: slashes, and what a URI does not take escaped. Nothing before a colon is taken for a scheme. */
function uriOf(file: string): string {
  const path = encodeURI(file.replaceAll('\\', '/').replace(/^\.\//, '')).replace(/[?#]/g, encodeURIComponent)
  if (/^[A-Za-z]:\//.test(path)) return `file:///${path}`
  return /^[^/]*:/.test(path) ? `./${path}` : path
}

function pascal(id: string): string {
  return id
    .split('-')
    .map(word => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')
}
