// A TCP proxy of one's own: identity proves who calls, hbone carries the bytes, policy decides, core's pump moves them.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { formatHostPort, parseHostPort, pump, workloadSpiffeId } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createHbonePool, createHboneServer } from '@ambient/hbone'
import { createCertificateAuthority, createIdentityManager, createLocalSigner } from '@ambient/identity'
import { createAuthorizer, createPolicyStore, parsePolicies, toAuthorization } from '@ambient/policy'

const trustDomain = 'cluster.local'
const policyText = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: only-web, namespace: istio-system }
spec:
  action: ALLOW
  rules:
  - from: [{ source: { principals: [${trustDomain}/ns/shop/sa/web] } }]
`

// Who is who: a CA in memory signs, a manager keeps the certificates fresh.
const ca = await createCertificateAuthority({ trustDomain })
const identities = createIdentityManager({ signer: createLocalSigner(ca) })
const idOf = serviceAccount => workloadSpiffeId({ trustDomain, namespace: 'shop', serviceAccount })

// Who may: a policy of the root namespace holds for everybody.
const [policy] = parsePolicies(policyText, 'only-web.yaml').authorizationPolicies
const { authorization } = toAuthorization(policy, { rootNamespace: 'istio-system' })
const authorizer = createAuthorizer({ store: createPolicyStore([authorization]) })

// What is protected: an application that knows nothing of all this.
const app = createServer(socket => socket.on('data', bytes => socket.end(`you said ${bytes}`)))
app.listen(0, '127.0.0.1')
await once(app, 'listening')
const authority = formatHostPort('127.0.0.1', app.address().port)

/** Judge, dial, answer 200, copy. */
async function onTunnel(tunnel) {
  const { host: address, port } = parseHostPort(tunnel.authority)
  const source = { address: tunnel.peer.address, port: tunnel.peer.port, identity: tunnel.peer.id }
  const destination = { address, port, network: '' }
  const admission = authorizer.admit({ id: '', direction: 'inbound', source, destination })
  if (!admission.allowed) {
    console.log(`proxy: denied ${tunnel.peer.id.uri}: ${admission.denial.reason}`)
    return tunnel.refuse(401)
  }
  // A policy that changes while the connection lives cuts it.
  const withdrawn = new AbortController()
  admission.permit.onWithdrawn = denial => withdrawn.abort(new Error(denial.reason))
  try {
    const socket = await dial({ host: address, port, signal: tunnel.signal })
    console.log(`proxy: allowed ${tunnel.peer.id.uri}: ${admission.permit.decision.reason}`)
    await pump(tunnel.accept(), socketChannel(socket), { signal: withdrawn.signal })
  } catch {
    tunnel.refuse(503)
  } finally {
    admission.permit.release()
  }
}

const hbone = createHboneServer({ credentials: () => identities.get(idOf('proxy')), onTunnel })
const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => hbone.accept(socket) })

// Two callers: the policy knows one of them.
const pool = createHbonePool()
for (const name of ['web', 'stranger']) {
  const credentials = await identities.get(idOf(name))
  try {
    const tunnel = await pool.connect({ credentials, to: listener, expect: [idOf('proxy')], authority })
    const socket = tunnel.socket()
    socket.end('hello')
    for await (const answer of socket) console.log(`${name}: ${answer}`)
  } catch (error) {
    console.log(`${name}: ${error.code} (status ${error.status})`)
  }
}

await Promise.all([pool.close(), hbone.close(), listener.close(), identities.close(), app.close()])
