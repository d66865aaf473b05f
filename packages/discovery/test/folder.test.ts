import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type FolderWatch, type ManifestFile, readManifestFolder, watchManifestFolder } from '../src/index.ts'

let folder: string
const open: FolderWatch[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'manifests-'))
})

afterEach(async () => {
  for (const watch of open.splice(0)) await watch.close()
  await rm(folder, { recursive: true, force: true })
})

/** A watch whose states can be waited for. */
function watch() {
  let states: (readonly ManifestFile[])[] = []
  const errors: string[] = []
  let wake = (): void => {}
  const watcher = watchManifestFolder({
    folder,
    onChange: files => {
      states.push(files)
      wake()
    },
    onError: error => {
      errors.push(error.code)
      wake()
    },
  })
  open.push(watcher)
  const until = async (fits: () => boolean): Promise<void> => {
    while (!fits()) await new Promise<void>(resolve => (wake = resolve))
  }
  return {
    errors,
    /** Waits for a state with these files, then forgets all states. */
    async see(expected: Record<string, string>): Promise<void> {
      const fits = (files: readonly ManifestFile[]): boolean =>
        JSON.stringify(Object.fromEntries(files.map(({ path, text }) => [path, text]))) ===
        JSON.stringify(expected)
      await until(() => states.some(fits))
      states = []
    },
    failure: () => until(() => errors.length > 0),
  }
}

describe('reading', () => {
  it('takes manifests of the folder and one below, sorted, and nothing else', async () => {
    await mkdir(join(folder, 'apps', 'deep'), { recursive: true })
    await mkdir(join(folder, '.git'))
    await mkdir(join(folder, 'node_modules'))
    const files = [
      'b.yaml',
      'a.yml',
      'c.json',
      'apps/d.YAML',
      'README.md',
      '.hidden.yaml',
      'package.json',
      'apps/tsconfig.json',
      'apps/d.policy-test.yaml',
      'apps/deep/e.yaml',
      '.git/f.yaml',
      'node_modules/g.yaml',
    ]
    for (const file of files) await writeFile(join(folder, file), file)
    const read = await readManifestFolder(folder)
    expect(read.map(({ path }) => path)).toEqual(['a.yml', 'apps/d.YAML', 'b.yaml', 'c.json'])
    expect(read[0]?.text).toBe('a.yml')
  })

  it('leaves out what points to nothing and refuses a folder that is not there', async () => {
    await symlink('/nowhere/at/all', join(folder, 'a.yaml'))
    await mkdir(join(folder, 'b.yaml'))
    expect(await readManifestFolder(folder)).toEqual([])
    await expect(readManifestFolder(join(folder, 'no'))).rejects.toMatchObject({
      code: 'AMBIENT_E_MANIFESTS',
    })
  })
})

describe('watching', () => {
  it('sees files come, change, be replaced and go', async () => {
    const watched = watch()
    await writeFile(join(folder, 'a.yaml'), '1')
    await watched.see({ 'a.yaml': '1' })
    await writeFile(join(folder, 'a.yaml'), '2')
    await watched.see({ 'a.yaml': '2' })
    await writeFile(join(folder, '.a.yaml.tmp'), '3')
    await rename(join(folder, '.a.yaml.tmp'), join(folder, 'a.yaml'))
    await watched.see({ 'a.yaml': '3' })
    await writeFile(join(folder, 'a.yaml'), '4')
    await watched.see({ 'a.yaml': '4' })
    await unlink(join(folder, 'a.yaml'))
    await watched.see({})
  })

  it('sees folders come and what happens in them', async () => {
    const watched = watch()
    await mkdir(join(folder, 'more'))
    await writeFile(join(folder, 'more', 'a.yaml'), '1')
    await watched.see({ 'more/a.yaml': '1' })
    await writeFile(join(folder, 'more', 'a.yaml'), '2')
    await watched.see({ 'more/a.yaml': '2' })
    await rm(join(folder, 'more'), { recursive: true })
    await watched.see({})
  })

  it('goes on when the folder is replaced, and says so while it is gone', async () => {
    await writeFile(join(folder, 'a.yaml'), '1')
    const watched = watch()
    await rm(folder, { recursive: true })
    await watched.failure()
    expect(watched.errors[0]).toBe('AMBIENT_E_MANIFESTS')
    await mkdir(folder)
    await writeFile(join(folder, 'a.yaml'), '2')
    await watched.see({ 'a.yaml': '2' })
    await writeFile(join(folder, 'a.yaml'), '3')
    await watched.see({ 'a.yaml': '3' })
  })
})
