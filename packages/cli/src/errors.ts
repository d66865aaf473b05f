/** What can go wrong with a command, beyond what the mesh itself says. */
import { AmbientError } from '@ambient/core'

export type CliErrorCode =
  /** The command line says something that cannot be; exit code 2. */
  | 'AMBIENT_E_CLI_USAGE'
  /** The value of an option cannot be used; exit code 1. */
  | 'AMBIENT_E_CLI_VALUE'
  /** A manifest cannot be edited as it is, or the edit would break the folder; nothing was written. */
  | 'AMBIENT_E_CLI_MANIFESTS'
  /** A file changed or could not be written while it was being edited. */
  | 'AMBIENT_E_CLI_WRITE'
  /** No such object in the folder, or no such proxy or namespace in the mesh. */
  | 'AMBIENT_E_CLI_NOT_FOUND'
  /** A label has another value already, and `--overwrite` was not given. */
  | 'AMBIENT_E_CLI_LABEL_EXISTS'
  /** No mesh is running, or not the one that was meant. */
  | 'AMBIENT_E_CLI_NO_MESH'
  /** A mesh of the folder runs already. */
  | 'AMBIENT_E_CLI_MESH_RUNS'
  /** The running mesh did not take an edit, or not in time. */
  | 'AMBIENT_E_CLI_NOT_TAKEN'
  /** A program could not be started. */
  | 'AMBIENT_E_CLI_SPAWN'
  /** A certificate, key or CA file cannot be read, or they do not belong together. */
  | 'AMBIENT_E_CLI_CREDENTIALS'
  /** What a command was given to read is not what it reads. */
  | 'AMBIENT_E_CLI_INPUT'
  /** Policy documents with mistakes, each told with its place; exit code 2. */
  | 'AMBIENT_E_CLI_DOCUMENTS'
  /** A connection through the mesh was refused or cut. */
  | 'AMBIENT_E_CLI_CONNECT'

export class CliError extends AmbientError<CliErrorCode> {}
