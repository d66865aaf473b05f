// Not only HTTP/1.1: a server that speaks first, WebSockets, gRPC.
export const title = 'Other tongues'

export const checks = [
  {
    name: 'the database speaks first, through the waypoint: its port is declared as TCP',
    expected: 'its greeting and PONG, and a record with the waypoint as destination',
    async run(story) {
      const mark = story.ledger.mark()
      const caller = story.across('db')
      const session = await story.hold(caller)
      const answer = await session.ping()
      session.close()
      const entry = await story.until(
        () =>
          story.ledger
            .find({ direction: 'outbound', 'src.workload': caller.name }, mark)
            .find(({ 'dst.service': service }) => service?.startsWith('db.')),
        3_000,
        'no ztunnel logged it',
      )
      return {
        observed: `${session.facts[0]?.greeting?.trim()}, ${answer}, ${entry['dst.workload']}`,
        ok: answer === 'PONG' && entry['dst.workload'].startsWith('waypoint'),
      }
    },
  },
  {
    name: 'a WebSocket echoes',
    expected: 'one, two, three',
    async run(story) {
      const answer = await story.run(story.pod('loadgen'), 'ws-echo.mjs', [
        'ws://httpbin:9080/echo',
        'one',
        'two',
        'three',
      ])
      const text = answer.error ?? answer.echoes.join(', ')
      return {
        observed: `${text}; server ${answer.server ?? 'unknown'}`,
        ok: text === 'one, two, three' && answer.server === 'istio-envoy',
      }
    },
  },
  {
    name: 'gRPC: a call, and a stream of answers',
    expected: 'hello bookinfo; 5 messages; both with status 0',
    async run(story) {
      const { unary, streamed } = await story.grpc(story.pod('loadgen'), 'greeter.bookinfo:9090')
      return {
        observed: `${unary.message ?? unary.details}; ${streamed.messages?.length} messages; status ${unary.code} and ${streamed.code}`,
        ok:
          unary.message === 'hello bookinfo' &&
          unary.code === 0 &&
          streamed.messages.length === 5 &&
          streamed.code === 0,
      }
    },
  },
]
