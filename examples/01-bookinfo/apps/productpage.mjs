// The page of a book, put together from `details` and `reviews`. 200 only when both answered, else 502.
import { fetchJson, serve } from './serve.mjs'

const detailsUrl = process.env.DETAILS_URL ?? 'http://details:9080'
const reviewsUrl = process.env.REVIEWS_URL ?? 'http://reviews:9080'

async function product(id) {
  const [details, reviews] = await Promise.all([
    fetchJson(`${detailsUrl}/details/${id}`),
    fetchJson(`${reviewsUrl}/reviews/${id}`),
  ])
  return { id, title: 'The Comedy of Errors', details, reviews }
}

function render({ title, details, reviews }) {
  const lines = reviews?.reviews.map(r => {
    const stars =
      r.rating === undefined ? '' : ` <span style="color:${r.rating.color}">${r.rating.stars} stars</span>`
    return `<blockquote>${r.text} <small>${r.reviewer}</small>${stars}</blockquote>`
  })
  return `<!doctype html><title>${title}</title><h1>${title}</h1>
<h2>Details</h2><p>${details === undefined ? 'not available' : `${details.author}, ${details.year}, ${details.pages} pages`}</p>
<h2>Reviews</h2>${lines?.join('\n') ?? '<p>not available</p>'}
`
}

const statusOf = page => (page.details === undefined || page.reviews === undefined ? 502 : 200)

serve('productpage', {
  '/productpage': async () => {
    const page = await product(0)
    return [statusOf(page), render(page)]
  },
  '/api/v1/products/': async url => {
    const page = await product(Number(url.pathname.split('/')[4] ?? 0))
    return [statusOf(page), page]
  },
})
