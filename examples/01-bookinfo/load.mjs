// What the load generators say of their own requests.

/** Sums over all of them. */
export async function loadStats(story) {
  const all = await Promise.all(
    story
      .pods('loadgen')
      .map(async pod => (await fetch(`http://${pod.address}:${pod.ports[0]}/stats`)).json()),
  )
  return {
    ok: sum(all, 'ok'),
    failed: sum(all, 'failed'),
    lastError: all.find(({ lastError }) => lastError)?.lastError,
  }
}

/** What came of the load while `work` was done: a check's answer, good when nothing failed and something was answered. */
export async function underLoad(story, work) {
  const before = await loadStats(story)
  const said = await work()
  const now = await loadStats(story)
  const [ok, failed] = [now.ok - before.ok, now.failed - before.failed]
  const trouble = failed > 0 ? ` (${now.lastError})` : ''
  return {
    observed: `${said === undefined ? '' : `${said}; `}${failed} failed, ${ok} answered${trouble}`,
    ok: failed === 0 && ok > 0,
  }
}

const sum = (all, field) => all.reduce((total, stats) => total + stats[field], 0)
