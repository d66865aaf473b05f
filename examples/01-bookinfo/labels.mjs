// The labels of the namespace, edited as text: whoever runs the demo sees in the manifest what `kubectl label` would do.

const HEAD = '\n  labels:\n'

/** With the label set to `value`, or without it. */
export function setLabel(text, key, value) {
  const line = `    ${key}: `
  const others = text.split('\n').filter(candidate => !candidate.startsWith(line))
  const without = others.join('\n').replace(/\n {2}labels:\n(?! {4})/, '\n')
  if (value === undefined) return without
  const withHead = without.includes(HEAD) ? without : `${without.trimEnd()}${HEAD}`
  return withHead.replace(HEAD, `${HEAD}${line}${value}\n`)
}

const MODE = 'istio.io/dataplane-mode'
const WAYPOINT = 'istio.io/use-waypoint'

export const addLabel = text => setLabel(text, MODE, 'ambient')
export const removeLabel = text => setLabel(text, MODE, undefined)
export const useWaypoint = text => setLabel(text, WAYPOINT, 'waypoint')
export const withoutLabels = text => setLabel(removeLabel(text), WAYPOINT, undefined)
