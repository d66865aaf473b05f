// The arguments of the demo.

export const HELP = `npm run demo -- [options]

  --json            one JSON line per check on standard output, all else on standard error
  --keep            leave the mesh running afterwards, and say how to talk to it
  --without FILE    leave a manifest out; the checks that rest on it fail (repeat)
  --step N          tell only this step of the story, 1 to 13 (repeat)
  --help            this

examples:
  npm run demo
  npm run demo -- --json | tail -1
  npm run demo -- --without policy-ratings.yaml
`

/** `{ options }`, or `{ problem }` with one line that says what was not understood. */
export function parseOptions(args) {
  const options = { json: false, keep: false, help: false, without: [], steps: [] }
  for (let index = 0; index < args.length; index++) {
    const [name, inline] = args[index].split(/=(.*)/s)
    if (name === '--json') options.json = true
    else if (name === '--keep') options.keep = true
    else if (name === '--help' || name === '-h') options.help = true
    else if (name === '--without') {
      const file = inline ?? args[++index]
      if (!file) return { problem: '--without needs the name of a manifest' }
      options.without.push(file)
    } else if (name === '--step') {
      const step = inline ?? args[++index] ?? ''
      if (!/^([1-9]|1[0-3])$/.test(step)) return { problem: '--step needs a number from 1 to 13' }
      options.steps.push(Number(step))
    } else return { problem: `unknown option ${args[index]}; --help lists them` }
  }
  return { options }
}
