// After the story: the mesh stays until Ctrl-C, says how to talk to it, and what goes wrong with it.
import { eventPrinter } from '@ambient/cli'

/** Prints how to talk to the mesh, then its trouble as it comes; resolves when `signal` is aborted. */
export async function keep({ mesh, signal, say }) {
  const print = eventPrinter(
    { format: 'table', logs: false, folder: mesh.folder },
    { colors: false, stdout: say, stderr: say },
  )
  say(await hint(mesh))
  const unsubscribe = mesh.subscribe(event => {
    print(event)
    const refusal = refusalOf(event)
    if (refusal !== undefined) say(`${refusal}\n`)
  })
  await new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', resolve, { once: true })
  })
  unsubscribe()
}

async function hint(mesh) {
  const page = mesh.pods.find(pod => pod.labels.app === 'productpage')
  const caller = mesh.pods.find(pod => pod.labels.app === 'loadgen') ?? page
  const [node] = mesh.nodes
  const meshed =
    caller === undefined
      ? ''
      : `  a call of ${caller.workload}, meshed; the URL holds that pod's secret, good on this machine while the mesh runs
    curl --noproxy '' -x '${await proxyOf(mesh, caller)}' http://productpage.${caller.namespace}:9080/productpage
`
  return `The mesh goes on until Ctrl-C; what goes wrong with it is printed here. Talk to it:
${meshed}  the page, directly: past the ztunnels, so without mTLS and policies
    curl --noproxy '*' http://${page?.address}:9080/productpage
  in another terminal, the mesh's own commands (ambient = node packages/cli/dist/bin.js)
    ambient status
    ambient run --as bookinfo/bookinfo-productpage -- curl http://reviews:9080/reviews/0
    ambient waypoint status -n bookinfo
  counters of a ztunnel
    curl --noproxy '*' ${node?.statsUrl}/stats/prometheus
  what a ztunnel knows
    curl --noproxy '*' ${node?.adminUrl}/config_dump
  its manifests, a temporary copy that is deleted at the end; edit them, or let “ambient label” do it
    ${mesh.folder}

`
}

/** What the pod's own programs use to leave: the proxy of its node, with its name and secret. */
async function proxyOf(mesh, pod) {
  const script = 'console.log(process.env.ALL_PROXY)'
  const execution = await mesh.exec(`${pod.namespace}/${pod.name}`, ['node', '-e', script])
  return (await execution.result()).stdout.trim()
}

/** The access log line of a connection that was refused or failed, behind its ztunnel's name. */
function refusalOf(event) {
  if (event.kind !== 'output' || event.source.kind !== 'ztunnel') return undefined
  const isRefusal = event.line.includes('\taccess\t') && /\serror=/.test(event.line)
  return isRefusal ? `ztunnel ${event.source.name}: ${event.line}` : undefined
}
