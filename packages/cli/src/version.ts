/** `ambient version`. */
import { createRequire } from 'node:module'
import type { CliHost } from './host.ts'
import { type OutputFormat, render } from './output.ts'
import { formatTable } from './table.ts'

export function printVersion(format: OutputFormat, host: CliHost): void {
  const versions = { ambient: ownVersion(), node: host.nodeVersion }
  host.stdout(render(format, versions, () => formatTable(Object.entries(versions))))
}

/** Of this package, as it is installed. */
export function ownVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)('@ambient/cli/package.json')
  const known = typeof manifest === 'object' && manifest !== null && 'version' in manifest
  return known ? String(manifest.version) : 'unknown'
}
