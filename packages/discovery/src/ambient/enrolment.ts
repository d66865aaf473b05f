/** Who is in the mesh: the rule of Istio's CNI, which marks pods for istiod. */

export const dataplaneModeLabel = 'istio.io/dataplane-mode'

type Labels = Readonly<Record<string, string>>

/** The pod's own label decides, else the namespace's; anything but `ambient` means no. */
export function isEnrolled(namespaceLabels: Labels, podLabels: Labels): boolean {
  const own = labelOf(podLabels, dataplaneModeLabel)
  return (own ?? labelOf(namespaceLabels, dataplaneModeLabel)) === 'ambient'
}

/** Labels come from documents: only own keys count. */
export function labelOf(labels: Labels, name: string): string | undefined {
  return Object.hasOwn(labels, name) ? labels[name] : undefined
}
