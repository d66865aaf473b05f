/** The table of certificate faults as OpenSSL writes them, judged by our verifier. OPENSSL=path and FAKETIME_BIN=path choose others. */
import { rmSync } from 'node:fs'
import { explainChain, readPemCertificates, verifyPeerChain } from '@ambient/identity'
import { afterAll, describe, expect, it } from 'vitest'
import { createOpensslMaker, FAKETIME, missing, OPENSSL } from './openssl-fixtures.ts'
import { createWorld, rows } from './openssl-rows.ts'

const why = missing(OPENSSL, 'version')
const noFaketime = missing(FAKETIME, '--version')

describe.skipIf(why !== undefined)(
  `certificates of OpenSSL${why === undefined ? '' : ` (skipped: ${why})`}`,
  () => {
    const maker = why === undefined ? createOpensslMaker() : undefined
    const world = maker && createWorld(maker)
    afterAll(() => maker && rmSync(maker.folder, { recursive: true, force: true }))

    for (const { name, problem, reason, make, needsFaketime } of rows) {
      const gone = needsFaketime === true ? noFaketime : undefined
      it.skipIf(gone !== undefined)(
        `${problem === undefined ? 'are believed' : 'are refused'} with ${name}${gone === undefined ? '' : ` (skipped: ${gone})`}`,
        () => {
          if (world === undefined) return
          const options = {
            chain: readPemCertificates(make(world).chainPem),
            // An MD5 row has a root of its own, with the same name: both are tried.
            trustBundle: world.root.certPem,
            ownTrustDomain: 'td.example',
            expect: { kind: 'any' },
            now: Date.now(),
          } as const
          const verdict = verifyPeerChain(options)
          if (problem === undefined) expect(verdict).toMatchObject({ ok: true })
          else expect(verdict).toEqual({ ok: false, problem, reason: expect.stringMatching(reason) })
          expect(explainChain(options).rules.some(({ outcome }) => outcome === 'fail')).toBe(
            problem !== undefined,
          )
        },
      )
    }
  },
)
