/** Tests for suggested policies, in the format of `*.policy-test.yaml`: what was recorded, and what differs from it. */
import { mutantsOf } from './mutants.ts'
import { dialectOf, type Suggestion } from './suggest-policies.ts'
import { yamlOf } from '../builders/manifest.ts'
import type { PolicyRequest } from '../evaluator/request.ts'

export interface SuggestedTestOptions {
  /** As in `policies` of the file: relative to it. */
  readonly policies: readonly string[]
}

/** Every recorded request that the policies allow, then one mutant of each field that they deny. */
export function suggestedTests(suggestion: Suggestion, { policies }: SuggestedTestOptions): string {
  const { recorded, proof } = suggestion
  const refused = new Set(proof.notAllowed)
  const allowed = new Set(proof.allowedMutants.map(({ request }) => JSON.stringify(request)))
  const requests = recorded.filter(request => !refused.has(request))
  const known = new Set(requests.map(request => JSON.stringify(request)))
  const mutants = requests.flatMap(request => {
    const fields = new Map(
      mutantsOf(request)
        .filter(mutant => !allowed.has(JSON.stringify(mutant.request)))
        .map(mutant => [mutant.field, mutant]),
    )
    return [...fields.values()]
  })
  const denied = new Map(mutants.map(mutant => [JSON.stringify(mutant.request), mutant]))
  const tests = [
    ...requests.map(request => testOf(request, 'allow')),
    ...[...denied]
      .filter(([key]) => !known.has(key))
      .map(([, { request, field }]) => ({ name: `another ${field}`, ...testOf(request, 'deny') })),
  ]
  return yamlOf({ policies, tests })
}

function testOf(request: PolicyRequest, expect: 'allow' | 'deny'): Readonly<Record<string, unknown>> {
  const { source, destination, http, jwt, sni } = request
  return {
    from: source,
    to: destination,
    ...(http === undefined
      ? {}
      : {
          method: http.method,
          host: http.authority,
          path: http.path,
          ...(http.headers === undefined ? {} : { headers: http.headers }),
        }),
    ...(jwt === undefined ? {} : { jwt: jwt.payload }),
    ...(sni === undefined ? {} : { sni }),
    dialect: dialectOf(request),
    expect,
  }
}
