/** The dry-run annotation. */

/** What Go's `ParseBool` reads, which is what istiod asks; `undefined` for anything else. */
export function parseDryRun(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined
}
