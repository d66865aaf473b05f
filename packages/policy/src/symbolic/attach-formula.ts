/** Where a document is enforced, as a formula over places: namespaces, labels, names and services. */
import type { Formula, Formulas } from './formula.ts'
import type { PolicyTargetReference, WorkloadSelector } from '../documents/authorization-policy.ts'
import type { Enforcer } from '../evaluator/verdict.ts'
import { type AttachableDocument, keysOfPolicy } from '../waypoint/attachment.ts'
import { selectsAll } from '../ztunnel/selector.ts'

/** The label by which a pod is of a Gateway: in an ingress gateway it and the name are one. */
const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'

export interface PlaceContext {
  readonly formulas: Formulas
  readonly rootNamespace: string
}

/** At an Envoy of a kind: a workload's sidecar, a waypoint, an ingress gateway. */
export function attachedAtEnvoy(
  document: AttachableDocument,
  kind: Enforcer['kind'],
  context: PlaceContext,
): Formula {
  const { formulas, rootNamespace } = context
  const targeted = (document.spec.targetRefs?.length ?? 0) > 0
  if (targeted)
    return kind === 'workload'
      ? formulas.never
      : formulas.or(keysOfPolicy(document, rootNamespace).map(key => keyFormula(key, kind, formulas)))
  return kind === 'waypoint' ? formulas.never : attachedBySelector(document, kind, context, 'everybody')
}

/** At the ztunnels of workloads, where an empty selector is nobody's. */
export function attachedAtZtunnel(document: AttachableDocument, context: PlaceContext): Formula {
  return attachedBySelector(document, 'workload', context, 'nobody')
}

/** Of a workload. */
export function selectedFormula(
  selector: WorkloadSelector | undefined,
  kind: Enforcer['kind'],
  formulas: Formulas,
): Formula {
  return formulas.and(
    Object.entries(selector?.matchLabels ?? {}).map(([label, value]) =>
      kind === 'gateway' && label === GATEWAY_NAME
        ? formulas.atom('place.name', 'name', [value])
        : formulas.atom(`label:${label}`, 'label', [value]),
    ),
  )
}

export function inNamespace(namespace: string, formulas: Formulas): Formula {
  return formulas.atom('place.namespace', 'namespace', [namespace])
}

function attachedBySelector(
  { metadata, spec }: AttachableDocument,
  kind: Enforcer['kind'],
  { formulas, rootNamespace }: PlaceContext,
  empty: 'nobody' | 'everybody',
): Formula {
  const everywhere = metadata.namespace === rootNamespace
  const near = everywhere ? formulas.always : inNamespace(metadata.namespace, formulas)
  if (spec.selector === undefined) return near
  if (selectsAll(spec.selector)) return empty === 'nobody' ? formulas.never : near
  return formulas.and([near, selectedFormula(spec.selector, kind, formulas)])
}

function keyFormula(key: string, kind: Enforcer['kind'], formulas: Formulas): Formula {
  const [what = '', rest = ''] = key.split(' ', 2)
  const [namespace = '', name = ''] = rest.split('/', 2)
  switch (what as PolicyTargetReference['kind']) {
    case 'Gateway':
      return formulas.and([inNamespace(namespace, formulas), formulas.atom('place.name', 'name', [name])])
    case 'GatewayClass':
      return kind === 'waypoint' ? formulas.always : formulas.never
    default:
      return kind === 'waypoint' ? formulas.atom('place.service', 'service', [rest]) : formulas.never
  }
}
