/** What a server's TLS and identity must be. */
import { X509Certificate } from 'node:crypto'
import type { ConnectionOptions, DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { readSpiffeId } from '@ambient/core'
import { FRAME } from '../http2/codes.ts'
import type { ServerCase } from './server-case.ts'
import { answerOrEnd, isSuccess, type Target } from './target.ts'
import { check, fail, skip } from './verdict.ts'
import { frame, PREFACE } from './wire.ts'

/** Old protocols need OpenSSL's permission before the server can be asked. */
const ANY_SECURITY = 'DEFAULT@SECLEVEL=0'

export const tlsCases: readonly ServerCase[] = [
  {
    id: 'tls-1.3',
    title: 'speaks TLS 1.3',
    requirement: 'HBONE-TLS-1',
    level: 'MUST',
    run: async target => {
      const socket = await target.secure({ minVersion: 'TLSv1.3' })
      check(socket.getProtocol() === 'TLSv1.3', `spoke ${socket.getProtocol() ?? 'nothing'}`)
    },
  },
  {
    id: 'tls-1.1',
    title: 'refuses TLS 1.1 and older',
    requirement: 'HBONE-TLS-2',
    level: 'MUST',
    run: target => refuses(target, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: ANY_SECURITY }),
  },
  {
    id: 'tls-1.2',
    title: 'refuses TLS 1.2 when nobody asked for it',
    requirement: 'HBONE-TLS-3',
    level: 'SHOULD',
    run: target => refuses(target, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }),
  },
  ...['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384'].map(
    (suite): ServerCase => ({
      id: `tls-${suite.slice(4, 11).toLowerCase().replace('_', '-')}`,
      title: `agrees on ${suite}`,
      requirement: 'HBONE-TLS-4',
      level: 'MUST',
      run: async target => {
        const socket = await target.secure({ minVersion: 'TLSv1.3', ciphers: suite })
        check(socket.getCipher().standardName === suite, `agreed on ${socket.getCipher().standardName}`)
      },
    }),
  ),
  {
    id: 'alpn-h2',
    title: 'selects h2 by ALPN',
    requirement: 'HBONE-TLS-5',
    level: 'MUST',
    run: async target => {
      const socket = await target.secure({ ALPNProtocols: ['h2', 'http/1.1'] })
      check(socket.alpnProtocol === 'h2', `selected ${socket.alpnProtocol || 'nothing'}`)
    },
  },
  {
    id: 'alpn-other',
    title: 'refuses clients that do not offer h2',
    requirement: 'HBONE-TLS-6',
    level: 'MUST',
    run: async target => {
      const done = await target.handshake({ ALPNProtocols: ['http/1.1'] })
      check(!done.ok, done.ok ? `selected ${done.socket.alpnProtocol || 'nothing, and went on'}` : '')
    },
  },
  {
    id: 'certificate-required',
    title: 'carries nothing for a client without a certificate',
    requirement: 'HBONE-TLS-7',
    level: 'MUST',
    run: target => carriesNothing(target, { cert: undefined, key: undefined }),
  },
  {
    id: 'foreign-client',
    title: 'carries nothing for a client of a foreign CA',
    requirement: 'HBONE-ID-2',
    level: 'MUST',
    run: async target => {
      const { foreign } = target.facts
      if (foreign === undefined) skip('no credentials of a foreign CA were given')
      await carriesNothing(target, { cert: foreign.certificateChain, key: foreign.privateKey() })
    },
  },
  {
    id: 'svid',
    title: 'proves exactly one SPIFFE ID, namespace and service account',
    requirement: 'HBONE-ID-1',
    level: 'MUST',
    run: async target => {
      const socket = await target.secure()
      const uris = uriNames(leafOf(socket))
      check(uris.length === 1, `its certificate has ${uris.length} URIs: ${uris.join(', ')}`)
      const read = readSpiffeId(uris[0] ?? '')
      check(read.ok, read.ok ? '' : `${uris[0] ?? ''}: ${read.reason}`)
    },
  },
  {
    id: 'chain-without-root',
    title: 'sends its certificate and intermediates, not the root',
    requirement: 'HBONE-TLS-8',
    level: 'SHOULD',
    run: async target => {
      const socket = await target.secure()
      let certificate: DetailedPeerCertificate = socket.getPeerCertificate(true)
      const seen = new Set<string>()
      while (certificate.issuerCertificate !== undefined && !seen.has(certificate.fingerprint256)) {
        seen.add(certificate.fingerprint256)
        certificate = certificate.issuerCertificate
      }
      const x509 = new X509Certificate(certificate.raw)
      check(seen.size === 0 || !x509.checkIssued(x509), 'a self-signed certificate was sent')
    },
  },
  {
    id: 'sni-ignored',
    title: 'proves the same whatever SNI says',
    requirement: 'HBONE-TLS-10',
    level: 'MUST',
    run: async target => {
      const [plain, named] = [await target.secure(), await target.secure({ servername: 'example.invalid' })]
      check(leafOf(plain).equals(leafOf(named)), 'another certificate came with SNI than without')
    },
  },
  {
    id: 'no-resumption',
    title: 'does not resume sessions',
    requirement: 'HBONE-TLS-11',
    level: 'SHOULD',
    run: noResumption,
  },
]

async function refuses(target: Target, over: ConnectionOptions): Promise<void> {
  const done = await target.handshake(over)
  if (done.ok) fail(`spoke ${done.socket.getProtocol() ?? 'it'}`)
}

/** TLS 1.3 clients are done before the server has looked at them, so what counts is what is carried afterwards. */
async function carriesNothing(target: Target, over: ConnectionOptions): Promise<void> {
  const done = await target.handshake(over)
  if (!done.ok) return
  const wire = target.wire(done.socket)
  wire.send(PREFACE, frame(FRAME.settings, 0, 0))
  const status = await answerOrEnd(wire, wire.request(target.head))
  check(!isSuccess(status), `its CONNECT was answered ${status}`)
  check(await wire.closes(), `its CONNECT was answered "${status}" and the connection stayed open`)
}

async function noResumption(target: Target): Promise<void> {
  const first = await target.secure()
  let ticket: Buffer | undefined
  first.on('session', (session: Buffer) => {
    ticket = session
  })
  const wire = target.wire(first)
  wire.send(PREFACE, frame(FRAME.settings, 0, 0))
  await wire.sync()
  if (ticket === undefined) return
  const second = await target.secure({ session: ticket })
  const again = target.wire(second)
  again.send(PREFACE, frame(FRAME.settings, 0, 0))
  await again.sync()
  check(!second.isSessionReused(), 'a session was resumed: nobody looked at the certificate again')
}

function leafOf(socket: TLSSocket): Buffer {
  return socket.getPeerCertificate(true).raw
}

/** Node quotes names that need it; those are no SPIFFE IDs, and are told apart by their quotes. */
export function uriNames(der: Uint8Array): readonly string[] {
  const names = new X509Certificate(der).subjectAltName ?? ''
  return names.split(', ').flatMap(name => (name.startsWith('URI:') ? [name.slice('URI:'.length)] : []))
}
