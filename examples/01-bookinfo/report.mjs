// Runs checks one after the other and prints each as a line: for people, or as JSON.

/** A check that does not end by itself has failed. */
const CHECK_TIMEOUT_MS = 20_000

const green = text => `\u001b[32m${text}\u001b[0m`
const red = text => `\u001b[31m${text}\u001b[0m`
const grey = text => `\u001b[2m${text}\u001b[0m`
const plain = text => text

/**
 * A check is `{ name, expected, run }`; `run(story)` answers `{ observed, ok }`. What it throws is what was observed.
 */
export function createReport({ json, colors, stdout, stderr }) {
  const results = []
  const [good, bad, dim] = colors ? [green, red, grey] : [plain, plain, plain]
  const record = (step, name, expected, observed, ok) => {
    results.push({ step, name, expected, observed, ok })
    const outcome = `expected ${expected}; observed ${ok ? observed : bad(observed)}`
    if (json) stdout(`${JSON.stringify({ step, name, expected, observed, ok })}\n`)
    else stdout(`  ${ok ? good('ok  ') : bad('FAIL')} ${name}\n       ${ok ? dim(outcome) : outcome}\n`)
  }
  return {
    results,
    title: (step, text) => (json ? stderr : stdout)(`\n${step}. ${text}\n`),
    async run(step, checks, story, signal) {
      for (const { name, expected, run } of checks) {
        signal?.throwIfAborted()
        const outcome = await settle(run, story, signal)
        signal?.throwIfAborted()
        record(step, name, expected, outcome.observed, outcome.ok)
      }
    },
    /** The same checks, when nothing of them can be looked at. */
    skip(step, checks, reason) {
      for (const { name, expected } of checks) record(step, name, expected, reason, false)
    },
    get failed() {
      return results.filter(({ ok }) => !ok).length
    },
    get passed() {
      return results.filter(({ ok }) => ok).length
    },
  }
}

async function settle(run, story, signal) {
  let timer
  let onAbort
  const cut = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS)
    onAbort = () => reject(signal.reason)
    signal?.addEventListener('abort', onAbort)
  })
  try {
    const { observed, ok } = await Promise.race([run(story), cut])
    return { observed: oneLine(observed), ok: ok === true }
  } catch (error) {
    return { observed: firstLine(error), ok: false }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
}

/** Bodies may end in a newline. */
function oneLine(observed) {
  return String(observed)
    .trim()
    .replace(/\s*\n\s*/g, ' ')
}

function firstLine(error) {
  return String(error?.message ?? error).split('\n')[0]
}
