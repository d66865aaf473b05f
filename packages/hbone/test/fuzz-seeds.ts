/**
 * Where the fuzzer begins: good sessions, as bytes of the one side, kept in `corpus/` (hexadecimal, one folder per victim).
 * `AMBIENT_CORPUS=write` writes the ones that are made here; those of other makers and past crashes stay as they are.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:http2'
import { Duplex } from 'node:stream'
import { encodeHeaders, type HeaderList } from '../src/http2/hpack.ts'
import { ModelEncoder } from './hpack-model.ts'
import { Random } from './property.ts'
import { CONNECT, frame, request, setting, TYPE, uint32 } from './raw-peer.ts'
import { PREFACE_AND_SETTINGS, turn } from './session-pair.ts'

/** Who is fed with the bytes. */
export type Victim = 'server' | 'client'
export const VICTIMS: readonly Victim[] = ['server', 'client']

const FOLDER = new URL('corpus/', import.meta.url)
const LINE = 96

export interface Seed {
  readonly name: string
  readonly bytes: Buffer
}

/** What `folder` of the corpus holds. */
export function readCorpus(name: string): readonly Seed[] {
  const folder = new URL(`${name}/`, FOLDER)
  return readdirSync(folder)
    .filter(file => file.endsWith('.hex'))
    .sort()
    .map(file => ({
      name: file,
      bytes: Buffer.from(readFileSync(new URL(file, folder), 'utf8').replace(/\s+/g, ''), 'hex'),
    }))
}

/** The path of the file, for messages. */
export function saveSeed(to: string, name: string, bytes: Buffer): string {
  const folder = new URL(`${to}/`, FOLDER)
  mkdirSync(folder, { recursive: true })
  const lines = bytes.toString('hex').match(new RegExp(`.{1,${LINE}}`, 'g')) ?? []
  writeFileSync(new URL(`${name}.hex`, folder), `${lines.join('\n')}\n`)
  return `packages/hbone/test/corpus/${to}/${name}.hex`
}

const OK: HeaderList = [[':status', '200']]
const data = (id: number, text: string, flags = 0): Buffer => frame(TYPE.data, flags, id, text)
const updates = (...ids: number[]): Buffer =>
  Buffer.concat(ids.map(id => frame(TYPE.update, 0, id, uint32(70_000))))

/** A header block with everything that HPACK has, cut into CONTINUATION frames, padded, with a priority. */
function ornate(id: number, head: HeaderList, seed: number): Buffer {
  const random = new Random(seed)
  const block = new ModelEncoder().encode(
    [...head, ['baggage', 'k8s.cluster.name=a,service.name=b'], ['forwarded', 'for="10.0.0.1"'], ['x', 'y']],
    random,
  )
  const cut = Math.floor(block.length / 2)
  const first = Buffer.concat([Buffer.of(3, 0, 0, 0, 0, 16), block.subarray(0, cut), Buffer.alloc(3)])
  return Buffer.concat([
    frame(TYPE.headers, 0x28, id, first),
    frame(TYPE.continuation, 0, id, block.subarray(cut, cut + 4)),
    frame(TYPE.continuation, 4, id, block.subarray(cut + 4)),
  ])
}

/** What the maker of the corpus writes, by victim and name. */
export function madeSeeds(): Readonly<Record<Victim, Readonly<Record<string, Buffer>>>> {
  const settings = frame(
    TYPE.settings,
    0,
    0,
    Buffer.concat([setting(3, 100), setting(4, 65_536), setting(5, 16_384)]),
  )
  const ack = frame(TYPE.settings, 1, 0)
  const opened = frame(TYPE.headers, 4, 1, encodeHeaders(OK))
  return {
    server: {
      'one-tunnel': Buffer.concat([PREFACE_AND_SETTINGS, request(1), data(1, 'hello'), data(1, 'bye', 1)]),
      'three-tunnels': Buffer.concat([
        PREFACE_AND_SETTINGS,
        ...[1, 3, 5].map(id => request(id)),
        updates(0, 1, 3),
        ...[1, 3, 5, 1, 3, 5].map(id => data(id, 'some bytes')),
        frame(TYPE.reset, 0, 3, uint32(8)),
        data(1, '', 1),
        frame(TYPE.ping, 0, 0, 'pingpong'),
        data(5, 'last', 1),
        frame(TYPE.goaway, 0, 0, uint32(0, 0)),
      ]),
      'ornate-headers': Buffer.concat([
        PREFACE_AND_SETTINGS,
        ornate(1, CONNECT, 1),
        data(1, 'x'),
        ornate(3, CONNECT, 2),
      ]),
      'padding-and-trailers': Buffer.concat([
        PREFACE_AND_SETTINGS,
        request(1),
        frame(TYPE.data, 8, 1, Buffer.from('\u0003abc\0\0\0')),
        frame(TYPE.headers, 5, 1, encodeHeaders([['trailer', 'x']])),
      ]),
      'settings-and-windows': Buffer.concat([
        PREFACE_AND_SETTINGS,
        request(1),
        frame(TYPE.settings, 0, 0, Buffer.concat([setting(4, 0), setting(1, 0)])),
        data(1, 'echo me, later'),
        frame(TYPE.settings, 0, 0, setting(4, 3)),
        updates(1, 0),
        frame(0x42, 0xff, 1, 'unknown'),
        frame(TYPE.priority, 0, 1, Buffer.concat([uint32(0), Buffer.of(3)])),
      ]),
      'no-tunnel': Buffer.concat([
        PREFACE_AND_SETTINGS,
        request(1, 5, [
          [':method', 'POST'],
          [':scheme', 'https'],
          [':path', '/'],
          ['content-length', '3'],
        ]),
        request(3, 4, [
          [':method', 'CONNECT'],
          [':authority', 'nowhere'],
        ]),
        request(5, 4, [
          ...CONNECT,
          ['baggage', 'a=b'],
          ['traceparent', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`],
        ]),
      ]),
      bulk: Buffer.concat([
        PREFACE_AND_SETTINGS,
        request(1),
        ...Array.from({ length: 4 }, () => data(1, 'z'.repeat(9_000))),
      ]),
    },
    client: {
      'one-tunnel': Buffer.concat([settings, ack, opened, data(1, 'hello'), data(1, 'bye', 1)]),
      'two-tunnels': Buffer.concat([
        settings,
        ack,
        updates(0),
        frame(TYPE.headers, 4, 3, encodeHeaders([[':status', '103']])),
        frame(TYPE.headers, 4, 3, encodeHeaders([...OK, ['baggage', 'a=b']])),
        opened,
        data(3, 'three'),
        updates(1, 3),
        frame(TYPE.reset, 0, 1, uint32(10)),
        data(3, '', 1),
        frame(TYPE.ping, 0, 0, 'pingpong'),
        frame(TYPE.goaway, 0, 0, uint32(3, 0)),
      ]),
      refused: Buffer.concat([
        settings,
        ack,
        frame(TYPE.headers, 5, 1, encodeHeaders([[':status', '401']])),
        frame(TYPE.reset, 0, 3, uint32(7)),
      ]),
      'ornate-headers': Buffer.concat([settings, ack, ornate(1, OK, 3), data(1, 'x'), ornate(3, OK, 4)]),
      'settings-and-windows': Buffer.concat([
        settings,
        ack,
        opened,
        frame(TYPE.settings, 0, 0, Buffer.concat([setting(4, 0), setting(3, 0)])),
        frame(TYPE.settings, 0, 0, Buffer.concat([setting(4, 1_000_000), setting(5, 1 << 20)])),
        frame(0x0c, 0, 0, '\0\x09https://a'),
        frame(TYPE.data, 9, 1, Buffer.from('\u0001ab\0')),
      ]),
    },
  }
}

/** What nghttp2 says as a client, with its dynamic table and its Huffman strings: for the corpus, not in every run. */
export async function recordedClient(): Promise<Buffer> {
  const said: Buffer[] = []
  const transport = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      said.push(Buffer.from(chunk))
      done()
    },
  })
  const session = connect('http://127.0.0.1', { createConnection: () => transport })
  session.on('error', () => {})
  transport.push(Buffer.concat([frame(TYPE.settings, 0, 0), frame(TYPE.settings, 1, 0)]))
  for (let tunnels = 0; tunnels < 3; tunnels++) {
    const stream = session.request({
      ':method': 'CONNECT',
      ':authority': '127.0.0.1:8080',
      baggage: 'service.name=a',
      forwarded: 'for="10.0.0.1"',
    })
    stream.on('error', () => {})
    stream.write('some bytes')
    if (tunnels === 1) stream.end()
    for (let turns = 0; turns < 5; turns++) await turn()
  }
  session.destroy()
  transport.destroy()
  return Buffer.concat(said)
}
