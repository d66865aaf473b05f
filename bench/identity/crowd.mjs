// Workloads that start at once, on a few nodes: from nothing to a certificate that was checked, with a key of its own each.
import { parseSpiffeId } from '@ambient/core'
import { createIdentityManager, createIstioCaClient } from '@ambient/identity'

const [, , port, root, workloads, nodes] = process.argv
const managers = Array.from({ length: Number(nodes) }, () => {
  const signer = createIstioCaClient({
    address: `https://127.0.0.1:${port}`,
    rootPem: () => root,
    clusterId: 'Kubernetes',
    impersonate: true,
  })
  return createIdentityManager({ signer })
})
const began = performance.now()
await Promise.all(
  Array.from({ length: Number(workloads) }, (_, index) =>
    managers[index % managers.length].get(parseSpiffeId(`spiffe://bench.local/ns/crowd/sa/w${index}`)),
  ),
)
const first = (performance.now() - began) / 1_000
const { user, system } = process.cpuUsage()
console.log(JSON.stringify({ first, issued: Number(workloads) / first, crowdCpu: (user + system) / 1e6 }))
process.exit(0)
