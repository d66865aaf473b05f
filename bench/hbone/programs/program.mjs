// A process of the bench: answers its parent's calls by name and ends when the parent does.
import { setFlagsFromString } from 'node:v8'

/** @param {Record<string, (args: any) => unknown>} own */
export function program(own) {
  const commands = { memory, keepYoungGeneration, ...own }
  process.on('message', async ({ id, command, args }) => {
    try {
      process.send?.({ id, result: await commands[command](args) })
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? error.message : String(error) })
    }
  })
  process.on('disconnect', () => process.exit(0))
  // Ctrl-C reaches the whole group; the parent decides when its children end.
  process.on('SIGINT', () => {})
}

/** What is left when garbage is gone; needs --expose-gc. */
async function memory() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  return process.memoryUsage()
}

/** As `ambient hbone forward` and `serve` when they begin: it stays as large as loading the program has made it. */
function keepYoungGeneration() {
  setFlagsFromString('--semi-space-growth-factor=1')
}
