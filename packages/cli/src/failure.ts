/** An error as lines for people: the message with its code, and what to do where the message does not say it. */
import { isAmbientError, messageOf } from '@ambient/core'
import { HboneError } from '@ambient/hbone'

export function describeFailure(error: unknown): string {
  // Each of its lines begins with a place: what editors and scripts look for.
  if (isAmbientError(error) && error.code === 'AMBIENT_E_CLI_DOCUMENTS') return printable(messageOf(error))
  const code = isAmbientError(error) ? ` [${error.code}]` : ''
  const help = hintFor(error)
  return `error: ${printable(messageOf(error))}${code}${help === undefined ? '' : `\nhint: ${help}`}`
}

/** Messages may quote what somebody else wrote: nothing of it steers a terminal. */
function printable(message: string): string {
  return message.replace(
    /[^\P{Cc}\n\t]/gu,
    control => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** What to do, where the message does not say it. */
export function hintFor(error: unknown): string | undefined {
  return error instanceof HboneError ? helpOf(error) : undefined
}

/** As docs/errors.md has it, in a line. */
function helpOf({ code, status, unprocessed }: HboneError): string | undefined {
  switch (code) {
    case 'AMBIENT_E_HBONE_UNREACHABLE':
      return 'is the peer up, and is this its HBONE port (15008 as a rule)?'
    case 'AMBIENT_E_HBONE_TIMEOUT':
      return 'does the peer speak HBONE on this port, and does nothing on the way drop packets?'
    case 'AMBIENT_E_TLS':
      return 'does the peer speak HBONE on this port, and does it believe the CA of our certificate? Its log has its side.'
    case 'AMBIENT_E_PEER_IDENTITY':
      return 'who should be there is for --peer, --trust-domain and --ca to say; if they are right, somebody else answers.'
    case 'AMBIENT_E_HBONE_REFUSED':
      return helpOfRefusal(status)
    case 'AMBIENT_E_HBONE_RESET':
      return unprocessed ? 'the peer did not look at it: try again.' : "the peer's log has its reason."
    case 'AMBIENT_E_HBONE_PROTOCOL':
      return 'does the peer speak HBONE on this port? `ambient hbone conformance --target` asks it rule by rule.'
    default:
      return undefined
  }
}

function helpOfRefusal(status: number | undefined): string {
  switch (status) {
    case 400:
      return 'the target is not one that this peer answers for.'
    case 401:
    case 403:
      return "a policy of the peer does not allow it; the peer's log names the rule (of `hbone serve`: --allow-target)."
    case 503:
    case 504:
      return "the peer could not reach the target: does it listen there, and does its name resolve? The peer's log has the error."
    default:
      return "the peer's log has its reason."
  }
}
