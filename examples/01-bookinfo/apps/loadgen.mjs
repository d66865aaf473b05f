// Asks for a page a few times a second, each time over a new connection. `/stats` says how that went.
import { portOf, serve } from './serve.mjs'

const target = process.env.TARGET ?? 'http://productpage:9080/productpage'
const everyMs = Number(process.env.EVERY_MS ?? 100)
const stats = { sent: 0, ok: 0, failed: 0, lastError: '' }

async function once() {
  stats.sent++
  try {
    const response = await fetch(target, {
      headers: { connection: 'close' },
      signal: AbortSignal.timeout(5_000),
    })
    await response.arrayBuffer()
    if (!response.ok) throw new Error(`status ${response.status}`)
    stats.ok++
  } catch (error) {
    stats.failed++
    stats.lastError = `${new Date().toISOString()} ${error.cause?.message ?? error.message}`
    console.error(`GET ${target} failed: ${error.cause?.message ?? error.message}`)
  }
}

serve('loadgen', { '/stats': () => ({ ...stats, inFlight: stats.sent - stats.ok - stats.failed }) }, portOf())
setInterval(once, everyMs).unref()
