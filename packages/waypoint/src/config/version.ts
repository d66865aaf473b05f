/** The version of this package, as it is installed. */
import { createRequire } from 'node:module'

/** `unknown` where the package was bundled into another file and its manifest left behind: no reason not to start. */
export function packageVersion(): string {
  try {
    const manifest: unknown = createRequire(import.meta.url)('@ambient/waypoint/package.json')
    const known = typeof manifest === 'object' && manifest !== null && 'version' in manifest
    return known ? String(manifest.version) : 'unknown'
  } catch {
    return 'unknown'
  }
}
