/** A folder of manifests as a value that is edited, judged and written back, file by file, each as a whole. */
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { messageOf } from '@ambient/core'
import { readManifestFolder, readManifests } from '@ambient/discovery'
import { formatProblem, type Problem } from '@ambient/policy'
import { CliError } from '../errors.ts'
import { type ManifestObject, objectsOf } from './objects.ts'

export interface ManifestFolder {
  readonly folder: string
  /** As the user wrote it: for messages. */
  readonly shown: string
  /** By path, relative to the folder. */
  readonly files: ReadonlyMap<string, string>
}

export interface FileChange {
  /** Relative to the folder. */
  readonly path: string
  readonly change: 'written' | 'removed'
}

/** @throws DiscoveryError `AMBIENT_E_MANIFESTS` */
export async function readFolder(folder: string): Promise<ManifestFolder> {
  const files = await readManifestFolder(folder)
  return {
    folder: resolve(folder),
    shown: folder,
    files: new Map(files.map(({ path, text }) => [path, text])),
  }
}

/**
 * The object of a kind and a name. Namespace `''` asks for one without; an object that names none is in `default`.
 * @throws CliError `AMBIENT_E_CLI_MANIFESTS` when it is not found but a file cannot be read: it may be in there.
 */
export function findObject(
  from: ManifestFolder,
  wanted: { readonly kind: string; readonly namespace: string; readonly name: string },
): ManifestObject | undefined {
  const { objects, broken } = objectsOf(from.files)
  const found = objects.find(
    ({ kind, namespace, name }) =>
      kind === wanted.kind &&
      name === wanted.name &&
      (wanted.namespace === '' || (namespace || 'default') === wanted.namespace),
  )
  if (found === undefined && broken.length > 0) throw unreadable(from, broken)
  return found
}

/** Every object that a file without errors has. */
export function listObjects(from: ManifestFolder, kind: string): readonly ManifestObject[] {
  return objectsOf(from.files).objects.filter(object => object.kind === kind)
}

/** With a file's text replaced, or with `undefined` removed. */
export function withFile(from: ManifestFolder, path: string, text: string | undefined): ManifestFolder {
  const files = new Map(from.files)
  if (text === undefined) files.delete(path)
  else files.set(path, text)
  return { ...from, files }
}

/** A name for a new file, not taken yet. */
export function freePath(from: ManifestFolder, name: string): string {
  for (let count = 1; ; count++) {
    const path = count === 1 ? `${name}.yaml` : `${name}-${count}.yaml`
    if (!from.files.has(path)) return path
  }
}

/** The problems of a folder, with paths as the user would write them. */
export function problemsOf(from: ManifestFolder): readonly Problem[] {
  const files = [...from.files].map(([path, text]) => ({ path, text }))
  return readManifests(files).problems.map(problem => ({ ...problem, file: join(from.shown, problem.file) }))
}

/**
 * Writes what differs: each file to a temporary one beside it, which then takes its name.
 * @throws CliError `AMBIENT_E_CLI_MANIFESTS` when the edit brings errors that were not there; nothing is written.
 * @throws CliError `AMBIENT_E_CLI_WRITE`
 */
export async function saveFolder(
  before: ManifestFolder,
  after: ManifestFolder,
): Promise<readonly FileChange[]> {
  const changes = changesOf(before, after)
  if (changes.length === 0) return []
  assertNoNewErrors(before, after)
  for (const { path } of changes) {
    const file = join(before.folder, path)
    await assertUnchanged(file, before.files.get(path))
    await replaceFile(file, after.files.get(path))
  }
  return changes
}

/** Additions first and removals last, so that nothing refers to nothing meanwhile. */
function changesOf(before: ManifestFolder, after: ManifestFolder): readonly FileChange[] {
  const added = [...after.files.keys()].filter(path => !before.files.has(path))
  const kept = [...before.files.keys()].filter(
    path => after.files.has(path) && after.files.get(path) !== before.files.get(path),
  )
  const removed = [...before.files.keys()].filter(path => !after.files.has(path))
  return [
    ...[...added, ...kept].map(path => ({ path, change: 'written' }) as const),
    ...removed.map(path => ({ path, change: 'removed' }) as const),
  ]
}

/** What an edit brought. Lines move with it: what counts is what is said of which object. */
export function newProblems(before: ManifestFolder, after: ManifestFolder): readonly Problem[] {
  const keyOf = ({ file, message, resource, severity }: Problem): string =>
    JSON.stringify([file, message, resource, severity])
  const old = new Set(problemsOf(before).map(keyOf))
  return problemsOf(after).filter(problem => !old.has(keyOf(problem)))
}

function assertNoNewErrors(before: ManifestFolder, after: ManifestFolder): void {
  const fresh = newProblems(before, after).filter(({ severity }) => severity === 'error')
  if (fresh.length === 0) return
  const text = fresh.map(formatProblem).join('\n')
  throw new CliError('AMBIENT_E_CLI_MANIFESTS', `nothing was written, because then:\n${text}`, {
    layer: 'config',
  })
}

function unreadable(from: ManifestFolder, broken: readonly Problem[]): CliError {
  const lines = broken.map(problem => formatProblem({ ...problem, file: join(from.shown, problem.file) }))
  return new CliError('AMBIENT_E_CLI_MANIFESTS', `nothing was written:\n${lines.join('\n')}`, {
    layer: 'config',
  })
}

async function assertUnchanged(file: string, expected: string | undefined): Promise<void> {
  const now = await readFile(file, 'utf8').catch(() => undefined)
  if (now === expected) return
  throw new CliError('AMBIENT_E_CLI_WRITE', `${file} was changed by somebody else meanwhile; try again`)
}

/** Readers see the old text or the new one, never a part. */
async function replaceFile(file: string, text: string | undefined): Promise<void> {
  const target = await realpath(file).catch(() => file)
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    if (text === undefined) return await rm(file)
    await mkdir(dirname(target), { recursive: true })
    await writeFile(temporary, text, { flag: 'wx', flush: true })
    const mode = await stat(target).then(
      facts => facts.mode,
      () => undefined,
    )
    if (mode !== undefined) await chmod(temporary, mode & 0o7777)
    await rename(temporary, target)
  } catch (cause) {
    await rm(temporary, { force: true })
    throw new CliError('AMBIENT_E_CLI_WRITE', `${file} could not be written: ${messageOf(cause)}`, { cause })
  }
}
