/**
 * core's `Meter` as OpenMetrics text. Series are created on first use and bounded in number; a family without samples
 * is left out. A label whose value is empty is absent, which is what OpenMetrics takes both for.
 */
import { proxyDefaults } from '../defaults.ts'
import type {
  Counter,
  Gauge,
  Histogram,
  HistogramOptions,
  InstrumentOptions,
  LabelValues,
  Meter,
} from '../telemetry.ts'

/** Stands in for every label of the series that no longer fit. */
const OVERFLOW = 'overflow'

export interface MetricsRegistry extends Meter {
  /** The exposition, ending with `# EOF`. Runs the `beforeScrape` functions first. */
  render(): string
  /** Called before each rendering, to bring live figures up to date. Returns the function that ends it. */
  beforeScrape(run: () => void): () => void
}

interface Series {
  readonly labels: LabelValues
  value: number
}

interface Distribution {
  readonly labels: LabelValues
  /** Per bucket, not cumulated; the last one is what fits in none. */
  readonly counts: number[]
  sum: number
}

/** The series of one name, made on first use, as many as are allowed. */
class SeriesTable<S> {
  readonly #make: (labels: LabelValues) => S
  readonly #maxSeries: number
  readonly #series = new Map<string, S>()
  /** Who counts often keeps its labels: the same array is the same series, without its key being built. */
  #kept = new WeakMap<LabelValues, S>()

  constructor(maxSeries: number, make: (labels: LabelValues) => S) {
    this.#maxSeries = maxSeries
    this.#make = make
  }

  get size(): number {
    return this.#series.size
  }

  values(): Iterable<S> {
    return this.#series.values()
  }

  at(labels: LabelValues): S {
    const kept = this.#kept.get(labels)
    if (kept !== undefined) return kept
    const series = this.#find(labels)
    this.#kept.set(labels, series)
    return series
  }

  delete(labels: LabelValues): void {
    // Whoever kept labels of it finds a new series, not this one.
    if (this.#series.delete(keyOf(labels))) this.#kept = new WeakMap()
  }

  #find(labels: LabelValues): S {
    const key = keyOf(labels)
    const known = this.#series.get(key)
    if (known !== undefined) return known
    if (this.#series.size >= this.#maxSeries && labels.some(value => value !== OVERFLOW))
      return this.#find(labels.map(() => OVERFLOW))
    const made = this.#make([...labels])
    this.#series.set(key, made)
    return made
  }
}

function keyOf(labels: LabelValues): string {
  return labels.join('\u0000')
}

interface Family {
  render(lines: string[]): void
}

class ValueFamily implements Counter, Gauge, Family {
  readonly #options: InstrumentOptions
  readonly #kind: 'counter' | 'gauge'
  readonly #series: SeriesTable<Series>

  constructor(options: InstrumentOptions, kind: 'counter' | 'gauge', maxSeries: number) {
    this.#options = options
    this.#kind = kind
    this.#series = new SeriesTable(maxSeries, labels => ({ labels, value: 0 }))
  }

  add(amount: number, labels: LabelValues): void {
    this.#series.at(labels).value += amount
  }

  set(value: number, labels: LabelValues): void {
    this.#series.at(labels).value = value
  }

  remove(labels: LabelValues): void {
    this.#series.delete(labels)
  }

  render(lines: string[]): void {
    if (this.#series.size === 0) return
    const { name } = this.#options
    lines.push(...headerLines(this.#options, this.#kind))
    const sample = this.#kind === 'counter' ? `${name}_total` : name
    for (const { labels, value } of this.#series.values())
      lines.push(`${sample}${formatLabels(this.#options.labels, labels)} ${value}`)
  }
}

class HistogramFamily implements Histogram, Family {
  readonly #options: HistogramOptions
  readonly #bounds: readonly number[]
  readonly #series: SeriesTable<Distribution>

  constructor(options: HistogramOptions, maxSeries: number) {
    this.#options = options
    this.#bounds = options.buckets ?? proxyDefaults.histogramBuckets
    const buckets = this.#bounds.length + 1
    this.#series = new SeriesTable(maxSeries, labels => ({
      labels,
      counts: new Array<number>(buckets).fill(0),
      sum: 0,
    }))
  }

  record(value: number, labels: LabelValues): void {
    const series = this.#series.at(labels)
    const found = this.#bounds.findIndex(bound => value <= bound)
    const bucket = found < 0 ? this.#bounds.length : found
    series.counts[bucket] = (series.counts[bucket] ?? 0) + 1
    series.sum += value
  }

  render(lines: string[]): void {
    if (this.#series.size === 0) return
    const { name, labels: names } = this.#options
    lines.push(...headerLines(this.#options, 'histogram'))
    for (const { labels, counts, sum } of this.#series.values()) {
      let total = 0
      for (const [index, count] of counts.entries()) {
        total += count
        const bound = this.#bounds[index]
        const le = bound === undefined ? '+Inf' : String(bound)
        lines.push(`${name}_bucket${formatLabels([...names, 'le'], [...labels, le])} ${total}`)
      }
      const own = formatLabels(names, labels)
      lines.push(`${name}_sum${own} ${sum}`, `${name}_count${own} ${total}`)
    }
  }
}

export function createMetricsRegistry(options: { readonly maxSeries?: number } = {}): MetricsRegistry {
  const maxSeries = options.maxSeries ?? proxyDefaults.maxMetricSeries
  const values = new Map<string, ValueFamily>()
  const histograms = new Map<string, HistogramFamily>()
  const families: Family[] = []
  const scrapes = new Set<() => void>()
  const valueFamily = (instrument: InstrumentOptions, kind: 'counter' | 'gauge'): ValueFamily => {
    const known = values.get(instrument.name)
    if (known !== undefined) return known
    const made = new ValueFamily(instrument, kind, maxSeries)
    values.set(instrument.name, made)
    families.push(made)
    return made
  }
  return {
    counter: instrument => valueFamily(instrument, 'counter'),
    gauge: instrument => valueFamily(instrument, 'gauge'),
    histogram(instrument) {
      const known = histograms.get(instrument.name)
      if (known !== undefined) return known
      const made = new HistogramFamily(instrument, maxSeries)
      histograms.set(instrument.name, made)
      families.push(made)
      return made
    },
    beforeScrape(run) {
      scrapes.add(run)
      return () => void scrapes.delete(run)
    },
    render() {
      for (const run of scrapes) run()
      const lines: string[] = []
      for (const one of families) one.render(lines)
      lines.push('# EOF')
      return `${lines.join('\n')}\n`
    },
  }
}

function headerLines({ name, help }: InstrumentOptions, kind: string): readonly string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`]
}

function formatLabels(names: readonly string[], values: LabelValues): string {
  const parts: string[] = []
  for (const [index, name] of names.entries()) {
    const value = values[index]
    if (value !== undefined && value !== '') parts.push(`${name}="${escapeLabel(value)}"`)
  }
  return parts.length === 0 ? '' : `{${parts.join(',')}}`
}

function escapeLabel(value: string): string {
  return /["\\\n]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    : value
}
