/** What a client shows of itself while it connects and asks: TLS, HTTP/2, the CONNECT and its headers. */
import { readHostPort, readSpiffeId } from '@ambient/core'
import { headerValues } from '../headers.ts'
import { FLAG, FRAME, SETTING } from '../http2/codes.ts'
import type { Visit } from './client-visit.ts'
import { uriNames } from './server-tls.ts'
import { check, type ConformanceCase, fail, skip } from './verdict.ts'
import { frame } from './wire.ts'

export interface ClientCase extends ConformanceCase {
  run(visit: Visit): Promise<void>
}

const BAGGAGE =
  /^((k8s\.(cluster|namespace|deployment|cronjob|pod|job)\.name|service\.(name|version)|cloud\.(region|availability_zone))=[!-+\--<>-~]+(,(?=.)|$))*$/
const FORWARDED = /^for="(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\]):\d{1,5}"(;host=[A-Za-z0-9._-]+)?$/
const TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const UNKNOWN_TYPE = 0x4b
const UNKNOWN_SETTING = 0x1a2a

const tlsCases: readonly ClientCase[] = [
  {
    id: 'client-tls-1.3',
    title: 'speaks TLS 1.3',
    requirement: 'HBONE-TLS-1',
    level: 'MUST',
    run: async visit => {
      const { protocol } = await visit.tls()
      check(protocol === 'TLSv1.3', `spoke ${protocol}`)
    },
  },
  {
    id: 'client-alpn',
    title: 'offers h2 by ALPN, and nothing else',
    requirement: 'HBONE-TLS-5',
    level: 'MUST',
    run: async visit => {
      const { offered } = await visit.tls()
      check(offered?.join() === 'h2', `offered ${offered?.join(', ') ?? 'nothing'}`)
    },
  },
  {
    id: 'client-no-sni',
    title: 'sends no server name',
    requirement: 'HBONE-TLS-9',
    level: 'SHOULD',
    run: async visit => {
      const { serverName } = await visit.tls()
      check(serverName === undefined, `sent ${serverName ?? ''}`)
    },
  },
  {
    id: 'client-certificate',
    title: 'presents a certificate',
    requirement: 'HBONE-TLS-7',
    level: 'MUST',
    run: async visit => check((await visit.tls()).chain.length > 0, 'presented none'),
  },
  {
    id: 'client-svid',
    title: 'proves exactly one SPIFFE ID, namespace and service account',
    requirement: 'HBONE-ID-1',
    level: 'MUST',
    run: async visit => {
      const [leaf] = (await visit.tls()).chain
      if (leaf === undefined) fail('presented no certificate')
      const uris = uriNames(leaf)
      check(uris.length === 1, `its certificate has ${uris.length} URIs: ${uris.join(', ')}`)
      const read = readSpiffeId(uris[0] ?? '')
      check(read.ok, read.ok ? '' : `${uris[0] ?? ''}: ${read.reason}`)
    },
  },
]

const http2Cases: readonly ClientCase[] = [
  {
    id: 'client-settings-first',
    title: 'begins with the preface and SETTINGS',
    requirement: 'HBONE-H2-1',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      const first = await wire.until('the first frame', () => wire.frames[0])
      check(
        first.type === FRAME.settings && (first.flags & FLAG.ack) === 0,
        `the first frame has type ${first.type}`,
      )
    },
  },
  {
    id: 'client-push-off',
    title: 'switches push off',
    requirement: 'HBONE-H2-2',
    level: 'SHOULD',
    run: async visit => {
      const wire = await visit.wire()
      const settings = await wire.until('SETTINGS', () => wire.settings)
      check(settings.get(SETTING.enablePush) === 0, 'ENABLE_PUSH is not 0')
    },
  },
  {
    id: 'client-settings-acknowledged',
    title: 'acknowledges SETTINGS',
    requirement: 'HBONE-H2-15',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      await wire.until('the acknowledgement', () => wire.settingsAcks > 0)
    },
  },
  {
    id: 'client-ping',
    title: 'answers PING with the same eight bytes',
    requirement: 'HBONE-H2-10',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      wire.send(frame(FRAME.ping, 0, 0, Buffer.from('conform!')))
      await wire.until('the answer to PING', () => wire.answered('conform!'))
    },
  },
  {
    id: 'client-unknown-ignored',
    title: 'ignores unknown frames and settings',
    requirement: 'HBONE-H2-11',
    level: 'MUST',
    run: async visit => {
      const wire = await visit.wire()
      wire.sendSettings([UNKNOWN_SETTING, 7])
      wire.send(frame(UNKNOWN_TYPE, 0xff, 0, Buffer.from('grease')))
      await wire.sync()
      check(wire.goaways.length === 0, `said GOAWAY (${wire.goaways[0]?.code ?? ''})`)
    },
  },
]

const connectCases: readonly ClientCase[] = [
  {
    id: 'client-connect',
    title: 'asks with :method CONNECT and :authority, and leaves the stream open',
    requirement: 'HBONE-REQ-3',
    level: 'MUST',
    run: async visit => {
      const { head, headEndedStream } = await visit.request()
      const pseudo = head.filter(([name]) => name.startsWith(':')).map(([name]) => name)
      check(pseudo.sort().join() === ':authority,:method', `sent ${pseudo.join(', ')}`)
      check(headerValues(head, ':method')[0] === 'CONNECT', `asked ${headerValues(head, ':method').join()}`)
      check(!headEndedStream, 'ended the stream at once')
    },
  },
  {
    id: 'client-authority',
    title: 'asks for host:port',
    requirement: 'HBONE-REQ-7',
    level: 'MUST',
    run: async visit => {
      const authority = headerValues((await visit.request()).head, ':authority').join()
      const read = readHostPort(authority)
      check(read.ok, read.ok ? '' : `${authority}: ${read.reason}`)
    },
  },
  {
    id: 'client-no-length',
    title: 'sends no content-length and no transfer-encoding',
    requirement: 'HBONE-REQ-8',
    level: 'MUST',
    run: async visit => {
      const { head } = await visit.request()
      const wrong = head.filter(([name]) => name === 'content-length' || name === 'transfer-encoding')
      check(wrong.length === 0, `sent ${wrong.map(field => field.join(': ')).join(', ')}`)
    },
  },
  ...headerCases('baggage', BAGGAGE, 'HBONE-HDR-3', 'HBONE-HDR-4'),
  ...headerCases('forwarded', FORWARDED, 'HBONE-HDR-5', 'HBONE-HDR-6'),
  ...headerCases('traceparent', TRACEPARENT, 'HBONE-HDR-7', 'HBONE-HDR-8'),
  {
    id: 'client-no-network',
    title: 'keeps x-forwarded-network for double HBONE',
    requirement: 'HBONE-HDR-9',
    level: 'MUST',
    run: async visit => {
      const values = headerValues((await visit.request()).head, 'x-forwarded-network')
      check(values.length === 0, `sent ${JSON.stringify(values[0] ?? '')}`)
    },
  },
]

/** Whether a header is sent, and whether it is in form. */
function headerCases(name: string, form: RegExp, sent: string, formed: string): readonly ClientCase[] {
  return [
    {
      id: `client-${name}`,
      title: `sends ${name}`,
      requirement: sent,
      level: 'SHOULD',
      run: async visit => check(headerValues((await visit.request()).head, name).length > 0, 'sent none'),
    },
    {
      id: `client-${name}-form`,
      title: `sends ${name} in its form`,
      requirement: formed,
      level: 'MUST',
      run: async visit => {
        const values = headerValues((await visit.request()).head, name)
        if (values.length === 0) skip('sent none')
        const wrong = values.find(value => !form.test(value))
        check(wrong === undefined, `sent ${JSON.stringify(wrong ?? '')}`)
      },
    },
  ]
}

/** In the order in which they can be known. */
export const factCases: readonly ClientCase[] = [...tlsCases, ...http2Cases, ...connectCases]
