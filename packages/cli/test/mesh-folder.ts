/** A folder for temporary files that a test has for itself: of the meshes that are found there are no others. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { type FakeMesh, type FakeMeshOptions, startFakeMesh } from './fake-mesh.ts'

export interface MeshFolder {
  readonly path: string
  /** Runs after the test. */
  atEnd(close: () => unknown): void
  fakeMesh(options?: Omit<FakeMeshOptions, 'folder'>): Promise<FakeMesh>
}

/** To be called once per test file, outside of its tests. */
export function useMeshFolder(): MeshFolder {
  const ours = process.env['TMPDIR']
  const closing: (() => unknown)[] = []
  let path = ''
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), 'ambient-test-'))
    process.env['TMPDIR'] = path
  })
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
    if (ours === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = ours
    await rm(path, { recursive: true, force: true })
  })
  return {
    get path() {
      return path
    },
    atEnd: close => void closing.push(close),
    async fakeMesh(options = {}) {
      const mesh = await startFakeMesh({ folder: path, ...options })
      closing.push(() => mesh.close())
      return mesh
    },
  }
}
