import { entries } from '../../.config/packages.mjs'
import { packageConfig } from '../../.config/tsup.base.ts'

/** The signing thread is a file of its own: nobody imports it, `ca/signing-thread.ts` starts it. */
export default packageConfig('identity', {
  entry: {
    ...Object.fromEntries(entries('identity').map(({ out, source }) => [out, source])),
    'ca/signing-worker': 'src/ca/signing-worker.ts',
  },
})
