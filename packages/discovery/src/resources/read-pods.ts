/** Pods, pod templates and Deployments. */
import { readMetadata, type YamlObject, type YamlReader } from '@ambient/policy'
import { matchesLabels, type ReadContext } from './context.ts'
import {
  deploymentSpecFields,
  labelSelectorFields,
  objectFields,
  podSpecFields,
  podTemplateFields,
  templateMetadataFields,
} from './fields.ts'
import { readContainer } from './read-container.ts'
import type { DeploymentResource, PodResource, PodSpec, PodTemplate, RestartPolicy } from './types.ts'

/** Namespaces have this account without anybody writing it. */
const DEFAULT_ACCOUNT = 'default'
/** More processes than one machine runs. */
const MAX_REPLICAS = 1_000
const DEFAULT_GRACE_SECONDS = 30
/** Of a bare pod; a Deployment takes only the first. */
const RESTART_POLICIES: readonly RestartPolicy[] = ['Always', 'OnFailure', 'Never']

export function readPod(root: YamlReader, context: ReadContext): PodResource | undefined {
  const object = root.object(objectFields)
  const metadata = object && readMetadata(object)
  const specReader = object?.required('spec')
  const spec = specReader && readPodSpec(specReader, metadata?.namespace, context, RESTART_POLICIES)
  if (metadata === undefined || spec === undefined) return undefined
  return { kind: 'Pod', metadata, source: root.position, spec }
}

export function readDeployment(root: YamlReader, context: ReadContext): DeploymentResource | undefined {
  const object = root.object(objectFields)
  const metadata = object && readMetadata(object)
  const spec = object?.required('spec')?.object(deploymentSpecFields)
  const templateReader = spec?.required('template')
  const template = templateReader && readTemplate(templateReader, metadata?.namespace, context)
  const replicas = spec?.get('replicas')?.integer({ min: 0, max: MAX_REPLICAS }) ?? 1
  const selector = spec?.required('selector')
  if (selector !== undefined && template !== undefined) checkSelector(selector, template)
  if (metadata === undefined || template === undefined) return undefined
  return { kind: 'Deployment', metadata, source: root.position, spec: { replicas, template } }
}

/** A cluster refuses a deployment that would not recognize its own pods. */
function checkSelector(reader: YamlReader, template: PodTemplate): void {
  const object = reader.object(labelSelectorFields)
  if (object === undefined) return
  const labels = object.get('matchLabels')?.strings() ?? {}
  if (Object.keys(labels).length === 0 && !object.has('matchExpressions'))
    reader.problem('expected matchLabels with at least one label')
  else if (!matchesLabels(labels, template.labels))
    reader.problem(
      'does not select the pods of its own template: expected its labels to be in template.metadata.labels',
    )
}

function readTemplate(
  reader: YamlReader,
  namespace: string | undefined,
  context: ReadContext,
): PodTemplate | undefined {
  const object = reader.object(podTemplateFields)
  const metadata = object?.get('metadata')?.object(templateMetadataFields)
  const specReader = object?.required('spec')
  const spec = specReader && readPodSpec(specReader, namespace, context, ['Always'])
  if (spec === undefined) return undefined
  return {
    labels: metadata?.get('labels')?.strings() ?? {},
    annotations: metadata?.get('annotations')?.strings() ?? {},
    spec,
  }
}

function readPodSpec(
  reader: YamlReader,
  namespace: string | undefined,
  context: ReadContext,
  restartPolicies: readonly RestartPolicy[],
): PodSpec | undefined {
  const object = reader.object(podSpecFields)
  const containersReader = object?.required('containers')
  if (object === undefined || containersReader === undefined) return undefined
  const containers = containersReader.list(readContainer)
  if (containersReader.kind === 'list' && containersReader.list(() => true).length === 0)
    containersReader.problem('expected at least one container, found none')
  if (object.has('initContainers'))
    object.problemAt('initContainers', 'init containers are not run here', 'warning')
  const nodeName = object.get('nodeName')?.text()
  checkNode(object, context)
  return {
    serviceAccountName: readAccount(object, namespace, context),
    containers,
    nodeSelector: object.get('nodeSelector')?.strings() ?? {},
    ...(nodeName !== undefined && { nodeName }),
    hostNetwork: object.get('hostNetwork')?.boolean() ?? false,
    restartPolicy: object.get('restartPolicy')?.oneOf(restartPolicies) ?? 'Always',
    terminationGracePeriodSeconds:
      object.get('terminationGracePeriodSeconds')?.integer({ min: 0, max: 86_400 }) ?? DEFAULT_GRACE_SECONDS,
  }
}

/** `serviceAccount` is the old name of the field; the new one wins. */
function readAccount(object: YamlObject, namespace: string | undefined, context: ReadContext): string {
  const reader = object.get('serviceAccountName') ?? object.get('serviceAccount')
  const name = reader?.text() ?? DEFAULT_ACCOUNT
  if (name !== DEFAULT_ACCOUNT && namespace !== undefined)
    context.check(({ serviceAccounts }) => {
      if (!serviceAccounts.has(`${namespace}/${name}`))
        reader?.problem(`refers to the ServiceAccount ${namespace}/${name}, which is not defined`)
    })
  return name
}

function checkNode(object: YamlObject, context: ReadContext): void {
  const reader = object.get('nodeName')
  const name = reader?.text()
  if (name === undefined) return
  context.check(({ nodes }) => {
    if (nodes.size > 0 && !nodes.has(name))
      reader?.problem(`refers to the Node ${name}, which is not defined`)
  })
}
