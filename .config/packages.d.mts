export interface PackageEntry {
  readonly name: string
  readonly specifier: string
  readonly source: string
  readonly out: string
}
export const root: string
export const order: readonly string[]
export function manifest(name: string): Record<string, unknown>
export function entries(name: string): PackageEntry[]
export function workspaceDependencies(name: string): string[]
