// The namespace joins the mesh and leaves it again, while everything runs.
import { addLabel, removeLabel } from '../labels.mjs'
import { summarize } from '../story.mjs'

const MARKER = 'EVERYBODY-MAY-READ-THIS'
const URL_WITH_MARKER = `http://details:9080/details/0?echo=${MARKER}`
export const NAMESPACE_FILE = 'namespace.yaml'

export const title = 'A namespace joins the mesh, and leaves it'

/** A call across nodes, and what the relay between them saw of it. */
async function watchedCall(story) {
  const watch = story.mesh.relay.watch(MARKER)
  const before = story.mesh.relay.stats().bytes
  const answer = await story.get(story.across('details'), URL_WITH_MARKER)
  watch.stop()
  return { answer, seen: watch.count, bytes: story.mesh.relay.stats().bytes - before }
}

const answered = ({ answer }) => answer.status === 200 && answer.body.includes(MARKER)
const appPids = story => story.appPids()

export const checks = [
  {
    name: 'before the namespace is labelled, loadgen calls details on the other node',
    expected: '200',
    async run(story) {
      story.keep('pids', appPids(story))
      const call = await watchedCall(story)
      story.keep('plain call', call)
      return { observed: summarize(call.answer), ok: answered(call) }
    },
  },
  {
    name: 'the relay between the nodes reads what was said',
    expected: 'the marker at least once',
    async run(story) {
      const { seen } = story.need('plain call')
      return { observed: `${seen} times`, ok: seen >= 1 }
    },
  },
  {
    name: 'the namespace is labelled while all runs: both ztunnels know',
    expected: 'within 1000 ms',
    async run(story) {
      const tookMs = await story.edit(NAMESPACE_FILE, addLabel)
      const enrolled = story.mesh.pods.filter(pod => pod.namespace === 'bookinfo' && pod.enrolled).length
      return { observed: `${tookMs} ms, ${enrolled} pods enrolled`, ok: tookMs <= 1_000 && enrolled > 0 }
    },
  },
  {
    name: 'the next call works, and its bytes cross between the nodes',
    expected: '200, and more than 0 bytes',
    async run(story) {
      const mark = story.ledger.mark()
      const call = await watchedCall(story)
      story.keep('meshed call', { ...call, mark })
      return {
        observed: `${summarize(call.answer)}, ${call.bytes} bytes`,
        ok: answered(call) && call.bytes > 0,
      }
    },
  },
  {
    name: 'the relay can read none of it',
    expected: 'the marker 0 times',
    async run(story) {
      const { seen } = story.need('meshed call')
      return { observed: `${seen} times`, ok: seen === 0 }
    },
  },
  {
    name: "both ends proved who they are: the source's and the destination's ztunnel agree",
    expected: 'sa/bookinfo-loadgen → sa/bookinfo-details, twice',
    async run(story) {
      const { mark } = story.need('meshed call')
      const [source, target] = [story.across('details'), story.pod('details')]
      const seenBy = (node, direction) =>
        story.until(
          () =>
            story.ledger.find(
              { node, direction, 'src.workload': source.name, 'dst.workload': target.name },
              mark,
            )[0],
          3_000,
          `the ztunnel of ${node} logged no such connection`,
        )
      const ends = [await seenBy(source.node, 'outbound'), await seenBy(target.node, 'inbound')]
      const proven = ends.map(end => `${end['src.identity']} → ${end['dst.identity']}`)
      const expected =
        'spiffe://cluster.local/ns/bookinfo/sa/bookinfo-loadgen → spiffe://cluster.local/ns/bookinfo/sa/bookinfo-details'
      return {
        observed: proven[0] === proven[1] ? `${proven[0]}, from both` : proven.join(' and '),
        ok: proven.every(text => text === expected),
      }
    },
  },
  {
    name: 'a call within one node is mTLS as well',
    expected: '200, with both identities',
    async run(story) {
      const target = story.pod('details')
      const near = story.pod('loadgen', pod => pod.node === target.node)
      const mark = story.ledger.mark()
      const answer = await story.get(near, URL_WITH_MARKER)
      const entry = await story.until(
        () =>
          story.ledger.find(
            { direction: 'inbound', 'src.workload': near.name, 'dst.workload': target.name },
            mark,
          )[0],
        3_000,
        'the ztunnel logged no such connection',
      )
      const both = entry['src.identity'] !== undefined && entry['dst.identity'] !== undefined
      return {
        observed: `${summarize(answer)}, ${both ? 'with both' : 'not with both'} identities`,
        ok: answer.status === 200 && both,
      }
    },
  },
  {
    name: 'no app was restarted for it',
    expected: 'the same process ids',
    async run(story) {
      const same = appPids(story) === story.need('pids')
      return { observed: same ? 'the same' : 'others', ok: same }
    },
  },
  {
    name: 'loadgen opens a connection to the database and keeps it',
    expected: 'PONG',
    async run(story) {
      const session = await story.hold(story.across('db'))
      story.keep('old session', session)
      const answer = await session.ping()
      return { observed: answer, ok: answer === 'PONG' }
    },
  },
  {
    name: 'the label is taken away: the next call is plaintext again',
    expected: '200, and the marker at least once',
    async run(story) {
      await story.edit(NAMESPACE_FILE, removeLabel)
      const call = await watchedCall(story)
      return {
        observed: `${summarize(call.answer)}, ${call.seen} times`,
        ok: answered(call) && call.seen >= 1,
      }
    },
  },
  {
    name: 'the connection from before is drained, not cut: it still answers',
    expected: 'PONG',
    async run(story) {
      const session = story.need('old session')
      const answer = await session.ping()
      session.close()
      return { observed: answer, ok: answer === 'PONG' }
    },
  },
  {
    name: 'the namespace comes back for the rest of the story',
    expected: '200, and the marker 0 times',
    async run(story) {
      await story.edit(NAMESPACE_FILE, addLabel)
      const call = await watchedCall(story)
      return {
        observed: `${summarize(call.answer)}, ${call.seen} times`,
        ok: answered(call) && call.seen === 0,
      }
    },
  },
]
