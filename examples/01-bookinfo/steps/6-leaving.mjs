// The namespace leaves the mesh and comes back while its load runs.
import { setTimeout as sleep } from 'node:timers/promises'
import { addLabel, removeLabel } from '../labels.mjs'
import { underLoad } from '../load.mjs'
import { NAMESPACE_FILE } from './1-in-and-out.mjs'

/** Some calls of each load generator. */
const A_WHILE_MS = 600

export const title = 'Leaving, under load'

export const checks = [
  {
    name: 'the namespace leaves the mesh while load runs',
    expected: '0 failed, more than 0 answered',
    run: story =>
      underLoad(story, async () => {
        await sleep(A_WHILE_MS)
        await story.edit(NAMESPACE_FILE, removeLabel)
        await sleep(A_WHILE_MS)
      }),
  },
  {
    name: 'it comes back while load runs',
    expected: '0 failed, more than 0 answered',
    run: story =>
      underLoad(story, async () => {
        await story.edit(NAMESPACE_FILE, addLabel)
        await sleep(A_WHILE_MS)
      }),
  },
]
