/** The Workload API keeps what every source keeps. */
import { createWorkloadApiSource } from '../src/index.ts'
import { startWorkloadApi, WEB } from './workload-api-bench.ts'
import { describeX509Source } from './x509-source-contract.ts'

describeX509Source({
  name: 'the Workload API over a Unix socket',
  async open({ clock, logger, issuer, ttlMs }) {
    const bench = await startWorkloadApi({
      clock,
      ttlMs,
      attest: () =>
        issuer === 'says nothing' ? new Promise(() => {}) : issuer === 'refuses' ? [] : [{ id: WEB }],
    })
    return {
      source: createWorkloadApiSource({ address: bench.address, clock, logger }),
      id: WEB,
      renew: () => bench.manager.rotate(WEB),
      outage: async () => {
        await bench.server.close()
        await bench.manager.close()
      },
      close: () => bench.close(),
    }
  },
})
