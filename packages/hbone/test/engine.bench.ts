/**
 * Parts of the engine by themselves:
 * `npx vitest bench --run --project unit --config .config/vitest.config.ts packages/hbone`
 */
import { bench, describe } from 'vitest'
import { FrameReader, type FrameSink, writeFrameHeader } from '../src/http2/frame.ts'
import { encodeHeaders, type HeaderList, HpackDecoder } from '../src/http2/hpack.ts'

/** What a ztunnel sends with a CONNECT. */
const REQUEST: HeaderList = [
  [':method', 'CONNECT'],
  [':authority', '10.244.1.17:8080'],
  ['forwarded', 'for=10.244.1.9:49152;proto=tcp'],
  ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
  [
    'baggage',
    'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web,service.name=web,service.version=v1',
  ],
]
const ANSWER: HeaderList = [[':status', '200']]
const encoded = encodeHeaders(REQUEST)
const answered = encodeHeaders(ANSWER)

const silent: FrameSink = {
  frame() {},
  dataBegin() {},
  data: () => true,
  dataEnd() {},
  unknown() {},
}

/** A read of 64 KiB that is full of DATA frames of `size` bytes. */
function readOf(size: number): Uint8Array {
  const count = Math.floor(65_536 / (9 + size))
  const bytes = new Uint8Array(count * (9 + size))
  for (let i = 0; i < count; i++) writeFrameHeader(bytes, i * (9 + size), size, 0, 0, 1)
  return bytes
}

describe('HPACK', () => {
  const decoder = new HpackDecoder(65_536)
  bench('encode a CONNECT', () => void encodeHeaders(REQUEST))
  bench('decode a CONNECT', () => void decoder.decode(encoded))
  bench('encode an answer', () => void encodeHeaders(ANSWER))
  bench('decode an answer', () => void decoder.decode(answered))
})

describe('frames of one read of 64 KiB', () => {
  const limits = { maxFrameBytes: 1 << 20, maxHeaderBytes: 1 << 16 }
  for (const size of [64, 1_024, 16_384]) {
    const reader = new FrameReader(silent, limits)
    const bytes = readOf(size)
    bench(`of ${size} bytes each`, () => void reader.feed(bytes))
  }
})
