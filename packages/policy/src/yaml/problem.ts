/** A finding in a document, with its position; the line that a person reads, and how found text is quoted in it. */
import { limits } from '../limits.ts'

/** One finding in a document. Lines and columns count from 1, columns in UTF-16 units. */
export interface Problem {
  readonly file: string
  readonly line: number
  readonly column: number
  /** Where in the document, what was expected and what was found. */
  readonly message: string
  readonly severity: 'error' | 'warning'
  /** `Kind namespace/name`, when the document says so much of itself. */
  readonly resource?: string
}

/** Where something was written. */
export interface SourcePosition {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** `file:line:column: error: message`, the form that editors turn into links. */
export function formatProblem(problem: Problem): string {
  const { file, line, column, severity, message } = problem
  return `${escapeText(file)}:${line}:${column}: ${severity}: ${message}`
}

/** Untrusted text inside a message: quoted, cut, control and bidirectional characters escaped. */
export function quote(value: unknown): string {
  const text = String(value)
  const cut = text.length > limits.maxQuotedLength ? `${text.slice(0, limits.maxQuotedLength)}…` : text
  return escapeText(JSON.stringify(cut))
}

function escapeText(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
