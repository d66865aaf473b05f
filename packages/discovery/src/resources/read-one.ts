/** One document of one kind, read for what it makes the reader say: for tools that show what is supported. */
import type { YamlReader } from '@ambient/policy'
import { createCollector, kindReaders } from './kind-readers.ts'

/** Kinds that are acted upon. */
export const actedKindNames: readonly string[] = Object.freeze([...kindReaders.keys()])

/** Problems are recorded by the reader, those of references to other documents left out. */
export function readOne(kind: string, root: YamlReader, rootNamespace: string): void {
  kindReaders.get(kind)?.(root, createCollector({ check: () => {}, rootNamespace }))
}
