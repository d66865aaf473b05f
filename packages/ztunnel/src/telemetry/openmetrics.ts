/**
 * core's `Meter` as OpenMetrics text. Series are created on first use and bounded in number; a family without samples
 * is left out. A label whose value is empty is absent, which is what OpenMetrics takes both for.
 */
import type { Counter, Gauge, InstrumentOptions, LabelValues, Meter } from '@ambient/core'
import { defaults } from '../defaults.ts'

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

class Family implements Counter, Gauge {
  readonly options: InstrumentOptions
  readonly kind: 'counter' | 'gauge'
  readonly #series = new Map<string, Series>()
  readonly #maxSeries: number

  constructor(options: InstrumentOptions, kind: 'counter' | 'gauge', maxSeries: number) {
    this.options = options
    this.kind = kind
    this.#maxSeries = maxSeries
  }

  add(amount: number, labels: LabelValues): void {
    this.#at(labels).value += amount
  }

  set(value: number, labels: LabelValues): void {
    this.#at(labels).value = value
  }

  render(lines: string[]): void {
    if (this.#series.size === 0) return
    const { name, help } = this.options
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${this.kind}`)
    const sample = this.kind === 'counter' ? `${name}_total` : name
    for (const series of this.#series.values())
      lines.push(`${sample}${this.#formatLabels(series.labels)} ${series.value}`)
  }

  #at(labels: LabelValues): Series {
    const key = labels.join('\u0000')
    const known = this.#series.get(key)
    if (known !== undefined) return known
    if (this.#series.size >= this.#maxSeries && labels.some(value => value !== OVERFLOW))
      return this.#at(labels.map(() => OVERFLOW))
    const series = { labels: [...labels], value: 0 }
    this.#series.set(key, series)
    return series
  }

  #formatLabels(values: LabelValues): string {
    const parts: string[] = []
    for (const [index, name] of this.options.labels.entries()) {
      const value = values[index]
      if (value !== undefined && value !== '') parts.push(`${name}="${escapeLabel(value)}"`)
    }
    return parts.length === 0 ? '' : `{${parts.join(',')}}`
  }
}

export function createMetricsRegistry(options: { readonly maxSeries?: number } = {}): MetricsRegistry {
  const maxSeries = options.maxSeries ?? defaults.maxMetricSeries
  const families = new Map<string, Family>()
  const scrapes = new Set<() => void>()
  const family = (instrument: InstrumentOptions, kind: 'counter' | 'gauge'): Family => {
    const known = families.get(instrument.name)
    if (known !== undefined) return known
    const made = new Family(instrument, kind, maxSeries)
    families.set(instrument.name, made)
    return made
  }
  return {
    counter: instrument => family(instrument, 'counter'),
    gauge: instrument => family(instrument, 'gauge'),
    beforeScrape(run) {
      scrapes.add(run)
      return () => void scrapes.delete(run)
    },
    render() {
      for (const run of scrapes) run()
      const lines: string[] = []
      for (const one of families.values()) one.render(lines)
      lines.push('# EOF')
      return `${lines.join('\n')}\n`
    },
  }
}

function escapeLabel(value: string): string {
  return /["\\\n]/.test(value)
    ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
    : value
}
