/** Text that others chose, made fit for logs and messages: terminals obey control characters, and readers of lines believe line ends. */

/** Controls (DEL and C1 among them), what is not seen or turns text around, and the line ends that only Unicode has. */
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu
/** Nearly all text is printable ASCII, which is seen four times as fast. */
const ODD = /[^ -~]/

/**
 * The same text, where each control character, line end and invisible format character is written as JSON escapes it
 * (`\n`, `\u001b`). Text without any comes back as it is; of JSON it leaves the meaning as it was.
 */
export function escapeUnseen(text: string): string {
  return ODD.test(text) ? text.replace(UNSEEN, escaped) : text
}

/** The text in quotes, as a JSON string that is safe to print. `JSON.stringify` leaves DEL, C1 controls and bidirectional marks. */
export function quoteText(text: string): string {
  return escapeUnseen(JSON.stringify(text))
}

function escaped(char: string): string {
  const json = JSON.stringify(char).slice(1, -1)
  if (json !== char) return json
  // Beyond the basic plane JSON writes both halves.
  return Array.from({ length: char.length }, (_, at) => `\\u${hex(char.charCodeAt(at))}`).join('')
}

function hex(unit: number): string {
  return unit.toString(16).padStart(4, '0')
}
