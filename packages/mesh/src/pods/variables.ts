/** A container's `env`: values, with `$(NAME)` of earlier ones, and facts of the running pod (the downward API). */
import type { EnvironmentVariable, PodField } from '@ambient/discovery'
import { expandVariables, type WorkloadPlan } from './plan.ts'

/** What a variable may ask of its pod. */
export interface PodFacts {
  readonly name: string
  readonly node: string
  readonly address: string
  readonly hostAddress: string
  readonly uid: string
  readonly plan: WorkloadPlan
}

export function resolveVariables(
  variables: readonly EnvironmentVariable[],
  pod: PodFacts,
): Record<string, string> {
  const env: Record<string, string> = {}
  for (const variable of variables) env[variable.name] = resolve(variable, pod, env)
  return env
}

function resolve(variable: EnvironmentVariable, pod: PodFacts, earlier: Record<string, string>): string {
  const { template } = pod.plan
  if (variable.kind === 'value') return expandVariables(variable.value, earlier)
  if (variable.kind === 'field') return fieldOf(variable.field, pod)
  return (variable.kind === 'label' ? template.labels : template.annotations)[variable.key] ?? ''
}

function fieldOf(field: PodField, pod: PodFacts): string {
  const fields: Readonly<Record<PodField, string>> = {
    'metadata.name': pod.name,
    'metadata.namespace': pod.plan.namespace,
    'metadata.uid': pod.uid,
    'spec.nodeName': pod.node,
    'spec.serviceAccountName': pod.plan.template.serviceAccount,
    'status.podIP': pod.address,
    'status.podIPs': pod.address,
    'status.hostIP': pod.hostAddress,
    'status.hostIPs': pod.hostAddress,
  }
  return fields[field]
}
