/** Whether a token is meant for us, compared as Envoy does: without `http://` or `https://` and one slash at the end. */

/** Without audiences every token is. */
export function audienceTest(
  audiences: readonly string[] | undefined,
): (found: readonly string[]) => boolean {
  if (audiences === undefined || audiences.length === 0) return () => true
  const wanted = new Set(audiences.map(plainAudience))
  return found => found.some(audience => wanted.has(plainAudience(audience)))
}

function plainAudience(audience: string): string {
  return audience.replace(/^https?:\/\//, '').replace(/\/$/, '')
}
