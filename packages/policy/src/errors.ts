/** The one error class of this package. */
import { AmbientError, type AmbientErrorOptions } from '@ambient/core'
import { formatProblem, type Problem } from './yaml/problem.ts'

export type PolicyErrorCode =
  /** Documents with mistakes; `problems` has each of them with its position. */
  | 'AMBIENT_E_POLICY_DOCUMENT'
  /** Keys of an issuer could not be fetched. */
  | 'AMBIENT_E_POLICY_JWKS'
  /** A request, or an enforcer, that is to be judged is not what is read; the message has the path. */
  | 'AMBIENT_E_POLICY_REQUEST'
  /** Something was used after `close()`. */
  | 'AMBIENT_E_CLOSED'

/** @see PolicyErrorCode */
export class PolicyError extends AmbientError<PolicyErrorCode> {
  readonly problems: readonly Problem[]

  constructor(
    code: PolicyErrorCode,
    message: string,
    options: AmbientErrorOptions & { readonly problems?: readonly Problem[] } = {},
  ) {
    super(code, message, { layer: 'policy', ...options })
    this.problems = options.problems ?? []
  }
}

/** One error for a list of problems: its message is one `file:line:column` line per problem. */
export function documentError(problems: readonly Problem[]): PolicyError {
  return new PolicyError('AMBIENT_E_POLICY_DOCUMENT', problems.map(formatProblem).join('\n'), { problems })
}
