/** Which workloads a selector means. */
import type { WorkloadSelector } from '../documents/authorization-policy.ts'

/** No selector, or one without labels. AuthorizationPolicy reads the second as "none": see {@link selectsWorkload}. */
export function selectsAll(selector: WorkloadSelector | undefined): boolean {
  return selector === undefined || Object.keys(selector.matchLabels).length === 0
}

export function matchesSelector(
  selector: WorkloadSelector | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector?.matchLabels ?? {}).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  )
}

/** Whether an AuthorizationPolicy's selector makes a workload list the policy: an empty one selects nobody. */
export function selectsWorkload(
  selector: WorkloadSelector | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  return !selectsAll(selector) && matchesSelector(selector, labels)
}
