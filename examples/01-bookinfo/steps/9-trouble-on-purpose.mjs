// Faults, timeouts, retries, mirrors, edits: what the routes of httpbin-routes.yaml say, seen from both ends.
const HTTPBIN = 'http://httpbin:9080'
const COPY = 'http://httpbin-copy:9080'
const DELAY_MS = 400
const IMPATIENCE_MS = 300
const ATTEMPTS = 3

export const title = 'Trouble on purpose, and what is made of it'

const call = async (story, path, options) =>
  (await story.many(story.pod('loadgen'), `${HTTPBIN}${path}`, options)).last
/** What came back, be it an answer or an error. */
const said = answer => answer.error ?? answer.status
const jsonOf = answer => JSON.parse(answer.body)
/** What the copy has counted, asked past the waypoint, as a probe would. */
async function copyCounts(story) {
  const { address } = story.pod('httpbin-copy')
  return (await fetch(`http://${address}:9080/counts`)).json()
}

export const checks = [
  {
    name: 'a delay is injected',
    expected: `200 after ${DELAY_MS} ms or more`,
    async run(story) {
      const answer = await call(story, '/anything/late')
      return {
        observed: `${answer.status} after ${answer.tookMs} ms`,
        ok: answer.status === 200 && answer.tookMs >= DELAY_MS,
      }
    },
  },
  {
    name: 'an abort is injected',
    expected: '418 fault filter abort',
    async run(story) {
      const answer = await call(story, '/anything/broken')
      return {
        observed: `${answer.status} ${answer.body}`,
        ok: answer.status === 418 && answer.body === 'fault filter abort',
      }
    },
  },
  {
    name: `an app that takes 2 s where the route gives it ${IMPATIENCE_MS} ms`,
    expected: '504 upstream request timeout, before the app is done',
    async run(story) {
      const answer = await call(story, '/slow?ms=2000')
      return {
        observed: `${answer.status} ${answer.body} after ${answer.tookMs} ms`,
        ok: answer.status === 504 && answer.body === 'upstream request timeout' && answer.tookMs < 1_900,
      }
    },
  },
  {
    name: 'an app that fails twice is asked again: the caller sees nothing of it',
    expected: `200, and ${ATTEMPTS} attempts counted at the app`,
    async run(story) {
      const key = `run-${Date.now()}`
      const answer = await call(story, `/flaky/${key}?fails=${ATTEMPTS - 1}`)
      const { keys } = await copyCounts(story)
      return {
        observed: `${said(answer)}, ${keys[key] ?? 0} attempts`,
        ok: answer.status === 200 && keys[key] === ATTEMPTS,
      }
    },
  },
  {
    name: 'a mirrored request is seen at the copy, and the caller sees only the original',
    expected: '200 from httpbin, and 1 request counted at httpbin-copy',
    async run(story) {
      const path = `/anything/mirrored/${Date.now()}`
      const answer = await call(story, path)
      const seen = await story.until(
        async () => (await copyCounts(story)).paths[path],
        3_000,
        'the copy saw nothing',
      )
      return {
        observed: `${answer.status} from ${jsonOf(answer).name}, ${seen} at httpbin-copy`,
        ok: answer.status === 200 && jsonOf(answer).name === 'httpbin' && seen === 1,
      }
    },
  },
  {
    name: 'path and headers are edited on their way there, headers on their way back',
    expected: '/anything/rewritten with x-set and without x-secret; x-seen-by in the answer',
    async run(story) {
      const answer = await call(story, '/anything/edited/page?q=1', {
        headers: { 'x-secret': 'of the caller' },
      })
      const { path, query, headers } = jsonOf(answer)
      const seenBy = answer.headers['x-seen-by']
      return {
        observed: `${path}${query} with x-set: ${headers['x-set']}, x-secret: ${headers['x-secret']}; x-seen-by: ${seenBy}`,
        ok:
          path === '/anything/rewritten/page' &&
          query === '?q=1' &&
          headers['x-set'] === 'by the waypoint' &&
          headers['x-secret'] === undefined &&
          seenBy === 'waypoint',
      }
    },
  },
  {
    name: 'a redirect is answered by the waypoint itself',
    expected: '301 to http://httpbin:9080/anything/here',
    async run(story) {
      const answer = await call(story, '/anything/moved')
      return {
        observed: `${said(answer)} to ${answer.headers?.location ?? 'nowhere'}`,
        ok: answer.status === 301 && answer.headers.location === 'http://httpbin:9080/anything/here',
      }
    },
  },
  {
    name: 'an HTTPRoute of the Gateway API does its part as well: a prefix is replaced',
    expected: '/anything/new/page',
    async run(story) {
      const { last } = await story.many(story.pod('loadgen'), `${COPY}/anything/old/page`)
      const { path } = jsonOf(last)
      return { observed: path, ok: last.status === 200 && path === '/anything/new/page' }
    },
  },
]
