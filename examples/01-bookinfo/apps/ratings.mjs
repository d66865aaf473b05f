// Stars per reviewer.
import { serve } from './serve.mjs'

serve('ratings', {
  '/ratings/': url => ({
    id: Number(url.pathname.split('/')[2] ?? 0),
    ratings: { Reviewer1: 5, Reviewer2: 4 },
  }),
})
