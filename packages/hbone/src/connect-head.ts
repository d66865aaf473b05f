/** What a CONNECT of ours says, checked before anything is dialled: no server gets to see what it would have to refuse. */
import { quoteText, readHostPort } from '@ambient/core'
import type { ConnectRequest } from './client.ts'
import { HboneError } from './errors.ts'
import { headerProblem } from './http2/message.ts'

/** Authorities that were found good, the latest: busy callers ask for the same again and again, and reading one takes microseconds. */
const MAX_KNOWN = 1_000
/** Of a bad authority, in a message. */
const MAX_SHOWN = 256

const known = new Set<string>()

/** @throws HboneError `AMBIENT_E_HBONE_OPTION` that names `authority` or `headers`. */
export function checkHead({ authority, headers = [] }: ConnectRequest): void {
  if (!known.has(authority)) checkAuthority(authority)
  const problem = headerProblem(headers)
  if (problem !== undefined) throw invalid(`headers: ${problem}`)
}

function checkAuthority(authority: string): void {
  const read = readHostPort(authority)
  if (!read.ok) throw invalid(`authority: ${quoteText(authority.slice(0, MAX_SHOWN))}: ${read.reason}`)
  if (known.size >= MAX_KNOWN) known.clear()
  known.add(authority)
}

function invalid(message: string): HboneError {
  return new HboneError('AMBIENT_E_HBONE_OPTION', message, { layer: 'config' })
}
