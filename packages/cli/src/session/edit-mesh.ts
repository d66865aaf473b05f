/** An edit of a mesh's folder: written, taken by the mesh that runs from it, and told. */
import { join } from 'node:path'
import { systemClock } from '@ambient/core'
import { formatProblem, type Problem } from '@ambient/policy'
import { CliError } from '../errors.ts'
import type { CliHost } from '../host.ts'
import {
  type FileChange,
  type ManifestFolder,
  newProblems,
  readFolder,
  saveFolder,
} from '../manifests/folder.ts'
import type { MeshClient } from '@ambient/mesh'
import { findTarget, type Target, withMesh } from './target.ts'

/** An edited folder, and what its maker has to tell. */
export interface Edit<Result> {
  readonly folder: ManifestFolder
  readonly result: Result
}

export interface Edited<Result> {
  readonly result: Result
  readonly folder: string
  readonly files: readonly FileChange[]
  /** What the edit brought that is no error; files as the user would write them. */
  readonly warnings: readonly Problem[]
  /** The configuration that the running mesh took; absent without a mesh or without a change. */
  readonly generation?: number
}

/** A mesh that follows its folder takes an edit in a fraction of a second. */
const TAKEN_WITHIN_MS = 15_000
const LOOK_EVERY_MS = 50
/** Longer than the folder's watcher waits. */
const QUIET_LOOKS = 3

/**
 * Resolves when every proxy of the running mesh has the edit; at once when none runs.
 * @throws CliError `AMBIENT_E_CLI_MANIFESTS`, `_WRITE`, `_NO_MESH`, `_NOT_TAKEN`
 */
export async function editMesh<Result>(
  named: string | undefined,
  edit: (folder: ManifestFolder) => Edit<Result>,
): Promise<Edited<Result>> {
  const target = await findTarget(named)
  const before = await readFolder(target.folder)
  const { folder: after, result } = edit(before)
  const write = async (): Promise<Edited<Result>> => {
    const files = await saveFolder(before, after)
    const warnings = files.length === 0 ? [] : newProblems(before, after)
    return { result, folder: target.folder, files, warnings }
  }
  if (!target.running) return write()
  return withMesh(target.folder, async mesh => {
    const { generation } = await mesh.status()
    const edited = await write()
    if (edited.files.length === 0) return edited
    return { ...edited, generation: await taken(mesh, generation, edited.files.length, target) }
  })
}

/** Which files were written, who has taken them, and what is odd about them now: for standard error. */
export function tellEdit(
  { folder, files, warnings, generation }: Edited<unknown>,
  host: Pick<CliHost, 'stderr'>,
): void {
  if (files.length === 0) return
  const list = (wanted: FileChange['change']): string => {
    const names = files.filter(({ change }) => change === wanted).map(({ path }) => join(folder, path))
    return names.length === 0 ? '' : `${names.join(', ')} ${wanted}; `
  }
  const taker =
    generation === undefined ? 'no mesh runs from this folder' : `configuration ${generation} is in place`
  host.stderr(`${list('written')}${list('removed')}${taker}\n`)
  for (const warning of warnings) host.stderr(`${formatProblem(warning)}\n`)
}

/** A folder is read when it has been quiet: of several files the first alone may have been taken before the last. */
async function taken(mesh: MeshClient, before: number, files: number, target: Target): Promise<number> {
  const deadline = systemClock.now() + TAKEN_WITHIN_MS
  let last = before
  let quiet = 0
  for (;;) {
    const { generation, problems } = await mesh.status()
    quiet = generation === last ? quiet + 1 : 0
    last = generation
    if (generation > before && quiet >= (files > 1 ? QUIET_LOOKS : 0)) {
      await mesh.synced(AbortSignal.timeout(TAKEN_WITHIN_MS))
      return generation
    }
    if (systemClock.now() > deadline) throw notTaken(problems, target)
    await new Promise<void>(resolve => systemClock.after(LOOK_EVERY_MS, resolve, { keepAlive: true }))
  }
}

function notTaken(problems: readonly Problem[], { folder }: Target): CliError {
  const reasons = problems.map(problem => formatProblem({ ...problem, file: join(folder, problem.file) }))
  const why = reasons.length === 0 ? 'does it follow its folder?' : `\n${reasons.join('\n')}`
  return new CliError('AMBIENT_E_CLI_NOT_TAKEN', `written, but the mesh goes on as it was: ${why}`)
}
