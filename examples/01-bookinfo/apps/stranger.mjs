// A caller that nobody allows: asks for `TARGET` every few seconds and says what came of it.
import { fetchJson, portOf, serve } from './serve.mjs'

const target = process.env.TARGET ?? 'http://ratings:9080/ratings/0'
const everyMs = Number(process.env.EVERY_MS ?? 5_000)

serve('stranger', {}, portOf())
setInterval(async () => {
  const answer = await fetchJson(target)
  if (answer !== undefined) console.log(`GET ${target} was answered`)
}, everyMs).unref()
