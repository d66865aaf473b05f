// The facts about a book. `?echo=TEXT` comes back in the answer, so that a text can be followed on the wire.
import { serve } from './serve.mjs'

serve('details', {
  '/details/': url => ({
    id: Number(url.pathname.split('/')[2] ?? 0),
    author: 'William Shakespeare',
    year: 1595,
    type: 'paperback',
    pages: 200,
    publisher: 'PublisherA',
    language: 'English',
    ...(url.searchParams.has('echo') ? { echo: url.searchParams.get('echo') } : {}),
  }),
})
