/** Which of Istio's policies a document is. One that is almost one is a mistake: passed over, it would enforce nothing. */
import { nearest } from '../yaml/nearest.ts'
import type { YamlDocument } from '../yaml/read-yaml.ts'

const KINDS = ['AuthorizationPolicy', 'PeerAuthentication', 'RequestAuthentication'] as const
const GROUP = 'security.istio.io'

export type PolicyKind = (typeof KINDS)[number]

/**
 * `undefined` for other kinds, and for those of other meshes with the same name. A kind that Istio's group does not have,
 * and one of ours in a group that is spelt almost like it, is recorded as a problem of the document.
 */
export function policyKindOf({ kind, apiVersion, root }: YamlDocument): PolicyKind | undefined {
  const [group = '', version] = apiVersion.split('/')
  const known = KINDS.find(one => one === kind)
  const meant = group === GROUP || (version !== undefined && nearest(group, [GROUP]) !== undefined)
  // A document of ours that does not say whose it is, is read, and the reader asks for it.
  if (known !== undefined) return apiVersion === '' || meant ? known : undefined
  if (group === GROUP) root.object()?.required('kind')?.oneOf(KINDS)
  return undefined
}
