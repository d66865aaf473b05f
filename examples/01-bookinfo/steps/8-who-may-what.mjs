// Policy by method and path at the waypoint, and what happens to those who go around it.
const ANYTHING = 'http://httpbin:9080/anything'
const PERMISSION_DENIED = 7

export const title = 'Who may do what'

/** What came back last, be it an answer or an error. */
const said = ({ last }) => last.error ?? last.status

export const checks = [
  {
    name: 'GET passes',
    expected: '200',
    async run(story) {
      const { last } = await story.many(story.pod('loadgen'), ANYTHING)
      return { observed: last.status, ok: last.status === 200 }
    },
  },
  {
    name: 'DELETE is denied, with the words of Istio',
    expected: '403 RBAC: access denied',
    async run(story) {
      story.keep('before delete', story.requests.mark())
      const { last } = await story.many(story.pod('loadgen'), ANYTHING, { method: 'DELETE' })
      return {
        observed: `${last.status} ${last.body}`,
        ok: last.status === 403 && last.body === 'RBAC: access denied',
      }
    },
  },
  {
    name: 'the record names policy and rule',
    expected: 'rbac_access_denied_matched_policy[ns[bookinfo]-policy[httpbin-read-only]-rule[0]]',
    async run(story) {
      const mark = story.need('before delete')
      const entry = await story.until(
        () => story.requests.find({ method: 'DELETE' }, mark)[0],
        3_000,
        'the waypoint logged no such request',
      )
      return {
        observed: `${entry.details}`,
        ok:
          entry.details ===
            'rbac_access_denied_matched_policy[ns[bookinfo]-policy[httpbin-read-only]-rule[0]]' &&
          entry.status === 403,
      }
    },
  },
  {
    name: 'reviews are for productpage only, at the waypoint as well',
    expected: '403 for loadgen, 200 for productpage',
    async run(story) {
      const url = 'http://reviews:9080/reviews/0'
      const loadgen = await story.many(story.pod('loadgen'), url)
      const productpage = await story.many(story.pod('productpage'), url)
      return {
        observed: `${said(loadgen)} for loadgen, ${said(productpage)} for productpage`,
        ok: loadgen.last.status === 403 && productpage.last.status === 200,
      }
    },
  },
  {
    name: 'stranger may not call the greeter: gRPC is told in its own words',
    expected: `status ${PERMISSION_DENIED}`,
    async run(story) {
      const { unary } = await story.grpc(story.pod('stranger'), 'greeter.bookinfo:9090')
      return { observed: `status ${unary.code} ${unary.details ?? ''}`, ok: unary.code === PERMISSION_DENIED }
    },
  },
  {
    name: 'whoever goes around the waypoint, to a pod itself, is refused by the L4 policy that was generated',
    expected: 'an error, and policy bookinfo/istio_allow_waypoint_bookinfo_waypoint in the ledger',
    async run(story) {
      const target = story.pod('httpbin')
      const caller = story.pod('loadgen')
      const mark = story.ledger.mark()
      const answer = await story.get(caller, `http://${target.address}:9080/anything`)
      const entry = await story.until(
        () =>
          story.ledger
            .find({ direction: 'inbound', 'src.workload': caller.name, 'dst.workload': target.name }, mark)
            .find(({ error }) => error !== undefined),
        3_000,
        'no ztunnel logged a refusal',
      )
      return {
        observed: `${answer.error ?? answer.status}, policy ${entry.policy}`,
        ok: answer.error !== undefined && entry.policy === 'bookinfo/istio_allow_waypoint_bookinfo_waypoint',
      }
    },
  },
]
