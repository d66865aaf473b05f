/**
 * A mesh inside a test: from a folder, or from manifests in the test itself.
 * @packageDocumentation
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MeshEvent } from '../events.ts'
import type { Mesh } from '../contract.ts'
import { createMesh } from '../mesh.ts'
import type { MeshOptions } from '../options.ts'

export interface TestMesh extends Mesh {
  /** Every event since the start. */
  readonly events: readonly MeshEvent[]
  /** The first event, past or to come, that the predicate takes. */
  event(isWanted: (event: MeshEvent) => boolean): Promise<MeshEvent>
  /** Writes a manifest; resolves when the mesh has taken or refused it. */
  write(file: string, text: string): Promise<MeshEvent>
  /** Removes a manifest; resolves as `write` does. */
  remove(file: string): Promise<MeshEvent>
}

export interface TestMeshOptions extends Omit<MeshOptions, 'manifests'> {
  /** A folder that is used as it is. */
  readonly folder?: string
  /** Files by name, written to a folder that lives as long as the mesh. */
  readonly manifests?: Readonly<Record<string, string>>
}

/** Starts a mesh; `close()` it, or `await using` it. With `manifests` its folder is removed as well. */
export async function startTestMesh(options: TestMeshOptions): Promise<TestMesh> {
  const { folder: given, manifests = {}, ...rest } = options
  const folder = given ?? (await mkdtemp(join(tmpdir(), 'ambient-test-')))
  for (const [file, text] of Object.entries(manifests)) await writeFile(join(folder, file), text)
  const removeFolder = async (): Promise<void> => {
    if (given === undefined) await rm(folder, { recursive: true, force: true })
  }
  const events: MeshEvent[] = []
  const mesh = createMesh({
    ...rest,
    manifests: folder,
    onEvent: event => {
      events.push(event)
      rest.onEvent?.(event)
    },
  })
  try {
    await mesh.start()
  } catch (error) {
    await removeFolder()
    throw error
  }
  return extend(mesh, folder, events, removeFolder)
}

function extend(
  mesh: Mesh,
  folder: string,
  events: MeshEvent[],
  removeFolder: () => Promise<void>,
): TestMesh {
  const closed = async (options?: { readonly graceMs?: number }): Promise<void> => {
    await mesh.close(options)
    await removeFolder()
  }
  const additions = {
    close: closed,
    [Symbol.asyncDispose]: () => closed(),
    events,
    event(isWanted: (event: MeshEvent) => boolean) {
      const past = events.find(isWanted)
      return past === undefined ? nextEvent(mesh, isWanted) : Promise.resolve(past)
    },
    write: (file: string, text: string) => verdictOf(mesh, () => writeFile(join(folder, file), text)),
    remove: (file: string) => verdictOf(mesh, () => rm(join(folder, file))),
  }
  return joined(mesh, additions)
}

/** Both objects as one: what the second has wins, everything else is asked of the mesh as it is then. */
function joined<Additions extends object>(mesh: Mesh, additions: Additions): Mesh & Additions {
  return new Proxy(Object.assign(Object.create(null), additions), {
    get(target, name) {
      if (Reflect.has(target, name)) return Reflect.get(target, name)
      const value: unknown = Reflect.get(mesh, name)
      return typeof value === 'function' ? value.bind(mesh) : value
    },
  })
}

/** What the mesh says of a change of its folder. */
async function verdictOf(mesh: Mesh, change: () => Promise<void>): Promise<MeshEvent> {
  const verdict = nextEvent(mesh, ({ kind }) => kind === 'applied' || kind === 'problems')
  await change()
  return verdict
}

function nextEvent(mesh: Mesh, isWanted: (event: MeshEvent) => boolean): Promise<MeshEvent> {
  return new Promise(resolve => {
    const unsubscribe = mesh.subscribe(event => {
      if (!isWanted(event)) return
      unsubscribe()
      resolve(event)
    })
  })
}
