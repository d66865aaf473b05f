// The ztunnels' metrics, read as Prometheus would.

/** The text of an exposition. */
export async function scrape(url) {
  const response = await fetch(url)
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`)
  return response.text()
}

/** The sum of a metric's samples that have all these labels. */
export function sumOf(text, metric, labels) {
  return text
    .split('\n')
    .filter(line => line.startsWith(`${metric}{`))
    .filter(line => Object.entries(labels).every(([name, value]) => line.includes(`${name}="${value}"`)))
    .reduce(
      (sum, line) =>
        sum +
        Number(
          line
            .slice(line.lastIndexOf('}') + 1)
            .trim()
            .split(' ')[0],
        ),
      0,
    )
}
