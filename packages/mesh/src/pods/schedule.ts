/** Which node a pod goes to: the one it asks for, else where its like are fewest, else where the fewest pods are. */

export interface Placed {
  readonly node: string
  /** The set that the pod belongs to. */
  readonly set: string
}

/** @returns `undefined` when the pod asks for a node that does not exist. */
export function chooseNode(
  nodes: readonly string[],
  placed: readonly Placed[],
  pod: { readonly set: string; readonly node?: string },
): string | undefined {
  if (pod.node !== undefined) return nodes.includes(pod.node) ? pod.node : undefined
  const load = (node: string): readonly [number, number] => [
    placed.filter(other => other.node === node && other.set === pod.set).length,
    placed.filter(other => other.node === node).length,
  ]
  return [...nodes].sort((a, b) => {
    const [likeA, allA] = load(a)
    const [likeB, allB] = load(b)
    return likeA - likeB || allA - allB || nodes.indexOf(a) - nodes.indexOf(b)
  })[0]
}
