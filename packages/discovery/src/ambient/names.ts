/** The names that a pod goes by in telemetry and policy: istiod's rules. */
import { labelOf } from './enrolment.ts'
import type { PodStatus } from './pod-status.ts'

const WORKLOAD_NAME = 'service.istio.io/workload-name'
const CANONICAL_NAMES = ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app']
const CANONICAL_REVISIONS = ['service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version']
const TEMPLATE_HASH = 'pod-template-hash'
/** A CronJob's Job is named after its time, in minutes or seconds. */
const SCHEDULED_JOB = /-\d{8,10}$/

/** The label, else the owner, else the pod: an owner counts only for pods that it named. */
export function workloadNameOf(pod: PodStatus): string {
  const label = labelOf(pod.labels, WORKLOAD_NAME)
  if (label !== undefined && label !== '') return label
  const { owner, generateName } = pod
  if (owner === undefined || generateName === undefined || generateName === '') return pod.name
  if (owner.kind === 'Job') return owner.name.replace(SCHEDULED_JOB, '')
  const hash = labelOf(pod.labels, TEMPLATE_HASH)
  if (owner.kind === 'ReplicaSet' && hash !== undefined && owner.name.endsWith(`-${hash}`))
    return owner.name.slice(0, -hash.length - 1)
  return owner.name
}

export function canonicalNameOf(pod: PodStatus): string {
  return firstLabel(pod, CANONICAL_NAMES) ?? workloadNameOf(pod)
}

export function canonicalRevisionOf(pod: PodStatus): string {
  return firstLabel(pod, CANONICAL_REVISIONS) ?? 'latest'
}

function firstLabel(pod: PodStatus, names: readonly string[]): string | undefined {
  for (const name of names) {
    const value = labelOf(pod.labels, name)
    if (value !== undefined && value !== '') return value
  }
  return undefined
}
