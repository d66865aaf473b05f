// What readers say. v1 shows no stars; v2 shows black and v3 red ones, which they fetch from `ratings`.
import { fetchJson, serve } from './serve.mjs'

const version = process.env.VERSION ?? 'v1'
const ratingsUrl = process.env.RATINGS_URL ?? 'http://ratings:9080'
const color = { v2: 'black', v3: 'red' }[version]

serve(`reviews ${version}`, {
  '/reviews/': async url => {
    const id = Number(url.pathname.split('/')[2] ?? 0)
    const stars = color === undefined ? undefined : await fetchJson(`${ratingsUrl}/ratings/${id}`)
    const rating = reviewer =>
      color === undefined ? {} : { rating: { stars: stars?.ratings?.[reviewer] ?? 'unavailable', color } }
    return {
      id,
      version,
      reviews: [
        { reviewer: 'Reviewer1', text: 'An extremely entertaining play.', ...rating('Reviewer1') },
        { reviewer: 'Reviewer2', text: 'Absolutely fun and entertaining.', ...rating('Reviewer2') },
      ],
    }
  },
})
