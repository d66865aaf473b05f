/** `ambient version`. */
import { createRequire } from 'node:module'
import type { CliHost } from './host.ts'
import { formatTable } from './table.ts'

export function printVersion(format: 'table' | 'json', host: CliHost): void {
  const versions = { ambient: ownVersion(), node: host.nodeVersion }
  host.stdout(format === 'json' ? `${JSON.stringify(versions)}\n` : formatTable(Object.entries(versions)))
}

/** Of this package, as it is installed. */
function ownVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)('@ambient/cli/package.json')
  const known = typeof manifest === 'object' && manifest !== null && 'version' in manifest
  return known ? String(manifest.version) : 'unknown'
}
