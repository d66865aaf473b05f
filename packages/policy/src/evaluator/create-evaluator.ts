/** One question, three ways to answer it: as ztunnel does, as Envoy does on a TCP chain, as Envoy does on an HTTP chain. */
import { createEnvoyEvaluator } from './envoy-evaluator.ts'
import {
  type EvaluatorDocuments,
  type EvaluatorOptions,
  type PolicyEvaluator,
  resolveDocuments,
  resolveOptions,
} from './policy-evaluator.ts'
import { withEnds } from './with-ends.ts'
import { createZtunnelEvaluator } from './ztunnel-evaluator.ts'
import { withoutExpired } from '../documents/expiry.ts'

/**
 * What istiod with ztunnel or Envoy would decide over these documents, upstream's bugs included, each named in the
 * `reason` of the verdicts that are owed to it. What this project's own proxies do instead is listed in
 * docs/protocol.md.
 */
export function createEvaluator(documents: EvaluatorDocuments, options: EvaluatorOptions): PolicyEvaluator {
  const resolved = resolveOptions(options)
  const create = resolved.dialect === 'ztunnel' ? createZtunnelEvaluator : createEnvoyEvaluator
  const { at } = options
  if (at === undefined) return create(resolveDocuments(documents), resolved)
  const authorizationPolicies = withoutExpired(documents.authorizationPolicies, at)
  const evaluator = create(resolveDocuments({ ...documents, authorizationPolicies }), resolved)
  return withEnds(evaluator, documents.authorizationPolicies, at)
}
