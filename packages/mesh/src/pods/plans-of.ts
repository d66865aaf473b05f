/** Manifests to plans: which pods are wanted, and what of their manifests cannot be had on one machine. */
import type {
  Container,
  DeploymentResource,
  PodResource,
  PodSpec,
  ReadinessProbe,
  Resources,
} from '@ambient/discovery'
import type { Problem } from '@ambient/policy'
import {
  type ContainerPlan,
  type PodTemplatePlan,
  type ReadinessPlan,
  templateHash,
  type WorkloadPlan,
} from './plan.ts'

const HOSTNAME_LABEL = 'kubernetes.io/hostname'

export interface Plans {
  readonly plans: readonly WorkloadPlan[]
  /** Warnings only: a cluster would take these manifests. */
  readonly problems: readonly Problem[]
}

export function plansOf(resources: Resources): Plans {
  const problems: Problem[] = []
  const warn = (resource: DeploymentResource | PodResource, message: string): void => {
    const { namespace, name } = resource.metadata
    problems.push({
      ...resource.source,
      message,
      severity: 'warning',
      resource: `${resource.kind} ${namespace}/${name}`,
    })
  }
  const plans = [
    ...resources.deployments.map(deployment =>
      planOf(deployment, deployment.spec.replicas, deployment.spec.template, warn),
    ),
    ...resources.pods.map(pod =>
      planOf(
        pod,
        1,
        { labels: pod.metadata.labels, annotations: pod.metadata.annotations, spec: pod.spec },
        warn,
      ),
    ),
  ]
  return { plans, problems }
}

type Warn = (resource: DeploymentResource | PodResource, message: string) => void

function planOf(
  resource: DeploymentResource | PodResource,
  replicas: number,
  template: DeploymentResource['spec']['template'],
  warn: Warn,
): WorkloadPlan {
  const { namespace, name } = resource.metadata
  const { spec } = template
  const planned: PodTemplatePlan = {
    labels: template.labels,
    annotations: template.annotations,
    serviceAccount: spec.serviceAccountName,
    ...nodeOf(resource, spec, warn),
    restart: spec.restartPolicy,
    graceMs: spec.terminationGracePeriodSeconds * 1_000,
    containers: spec.containers.map(containerPlan),
  }
  for (const container of planned.containers)
    if (container.argv.length === 0)
      warn(
        resource,
        `container ${container.name} has no command: images are not run here, so nothing is started for it`,
      )
  if (spec.hostNetwork) warn(resource, 'hostNetwork is not had here: the pod gets an address of its own')
  return { namespace, name, kind: resource.kind, replicas, template: planned, hash: templateHash(planned) }
}

function nodeOf(resource: DeploymentResource | PodResource, spec: PodSpec, warn: Warn): { node?: string } {
  const others = Object.keys(spec.nodeSelector).filter(label => label !== HOSTNAME_LABEL)
  if (others.length > 0)
    warn(resource, `nodeSelector: only ${HOSTNAME_LABEL} is honoured, found ${others.join(', ')}`)
  const node = spec.nodeName ?? spec.nodeSelector[HOSTNAME_LABEL]
  return node === undefined ? {} : { node }
}

function containerPlan(container: Container): ContainerPlan {
  const { name, command, args, env, ports, workingDir, readinessProbe } = container
  const readiness = readinessProbe === undefined ? undefined : readinessPlan(readinessProbe, container)
  return {
    name,
    argv: command.length === 0 ? [] : [...command, ...args],
    env,
    ports: ports.filter(({ protocol }) => protocol === 'TCP'),
    ...(workingDir === undefined ? {} : { workingDir }),
    ...(readiness === undefined ? {} : { readiness }),
  }
}

function readinessPlan(probe: ReadinessProbe, container: Container): ReadinessPlan | undefined {
  const { check } = probe
  if (check.kind === 'none') return undefined
  const port =
    typeof check.port === 'number'
      ? check.port
      : container.ports.find(({ name }) => name === check.port)?.port
  if (port === undefined) return undefined
  return {
    ask: check.kind === 'http' ? { kind: 'http', path: check.path, port } : { kind: 'tcp', port },
    initialDelayMs: probe.initialDelaySeconds * 1_000,
    periodMs: probe.periodSeconds * 1_000,
    timeoutMs: probe.timeoutSeconds * 1_000,
    failureThreshold: probe.failureThreshold,
  }
}
