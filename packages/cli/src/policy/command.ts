/** `ambient policy`: what would be decided, and why, before anything is deployed. */
import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { registerPolicyCoverage } from './coverage.ts'
import { registerPolicyDiff } from './diff.ts'
import { registerPolicyExplain } from './explain.ts'
import { registerPolicyLint } from './lint.ts'
import { registerPolicyMigrate } from './migrate.ts'
import { registerPolicySuggest } from './suggest.ts'
import { registerPolicyTest } from './test.ts'
import { registerPolicyWhatIf } from './what-if.ts'
import { registerPolicyWhere } from './where.ts'

const EXAMPLES = `
Exit code 0: as asked; 1: findings; 2: the command line or a document is wrong.
`

export function registerPolicy(program: Command, context: CommandContext): void {
  const policy = addCommand(
    program,
    'policy',
    'policies before they are deployed: what would be decided, and why',
    context,
  ).addHelpText('after', EXAMPLES)
  registerPolicyExplain(policy, context)
  registerPolicyLint(policy, context)
  registerPolicyDiff(policy, context)
  registerPolicySuggest(policy, context)
  registerPolicyWhatIf(policy, context)
  registerPolicyMigrate(policy, context)
  registerPolicyWhere(policy, context)
  registerPolicyTest(policy, context)
  registerPolicyCoverage(policy, context)
}
