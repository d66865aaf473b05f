/** From Deployments and Pods to the pods that should run, as data. */
import { createHash } from 'node:crypto'
import type { ContainerPort, EnvironmentVariable, RestartPolicy } from '@ambient/discovery'

/** How to ask a container whether it is ready. */
export interface ReadinessPlan {
  readonly ask:
    | { readonly kind: 'http'; readonly path: string; readonly port: number }
    | { readonly kind: 'tcp'; readonly port: number }
  readonly initialDelayMs: number
  readonly periodMs: number
  readonly timeoutMs: number
  /** Failures in a row that make a ready container unready. */
  readonly failureThreshold: number
}

export interface ContainerPlan {
  readonly name: string
  /** Empty when the manifest names no program. */
  readonly argv: readonly string[]
  readonly env: readonly EnvironmentVariable[]
  readonly workingDir?: string
  readonly ports: readonly ContainerPort[]
  readonly readiness?: ReadinessPlan
}

/** What decides whether a running pod is still the wanted one. */
export interface PodTemplatePlan {
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly serviceAccount: string
  /** The node that the manifest asks for. */
  readonly node?: string
  readonly restart: RestartPolicy
  readonly graceMs: number
  readonly containers: readonly ContainerPlan[]
}

/** A set of equal pods. */
export interface WorkloadPlan {
  readonly namespace: string
  readonly name: string
  readonly kind: 'Deployment' | 'Pod'
  readonly replicas: number
  readonly template: PodTemplatePlan
  /** Of the template: another hash, another pod. */
  readonly hash: string
}

/** Kubernetes leaves out vowels and digits that look like letters, so that no words come about. */
const NAME_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789'
const HASH_LENGTH = 9
const SUFFIX_LENGTH = 5

/** Identifies a set of pods across configurations. */
export function planKey(plan: { kind: string; namespace: string; name: string }): string {
  return `${plan.kind}/${plan.namespace}/${plan.name}`
}

/** As the hash in a ReplicaSet's name: equal for equal templates. */
export function templateHash(template: PodTemplatePlan): string {
  return podSuffix(createHash('sha256').update(stableText(template)).digest(), HASH_LENGTH)
}

/** `NAME-HASH-XXXXX`, as a ReplicaSet names its pods. */
export function podName(plan: WorkloadPlan, random: () => number): string {
  if (plan.kind === 'Pod') return plan.name
  const suffix = Uint8Array.from({ length: SUFFIX_LENGTH }, () => Math.floor(random() * 256))
  return `${plan.name}-${plan.hash}-${podSuffix(suffix, SUFFIX_LENGTH)}`
}

/** `$(NAME)` in commands and arguments, as Kubernetes expands it; unknown names and `$$(NAME)` stay. */
export function expandVariables(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (env[name] ?? whole),
  )
}

/** As Kubernetes writes hashes and random endings of names. */
export function podSuffix(bytes: Uint8Array, length: number): string {
  return Array.from(bytes.subarray(0, length), byte => NAME_ALPHABET[byte % NAME_ALPHABET.length]).join('')
}

/** JSON with sorted keys: equal for equal values. */
export function stableText(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}
