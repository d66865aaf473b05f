// What node:crypto itself does with P-256 and SHA-256, in this process and now.
import { generateKeyPairSync, sign, verify } from 'node:crypto'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const text = Buffer.alloc(400, 7)
const signature = sign('sha256', text, privateKey)

console.log(
  JSON.stringify({
    version: process.versions.node,
    sign: rate(() => sign('sha256', text, privateKey)),
    verify: rate(() => verify('sha256', text, publicKey, signature)),
  }),
)

function rate(run) {
  for (let warm = 0; warm < 200; warm += 1) run()
  const began = performance.now()
  let count = 0
  while (performance.now() - began < 500) {
    run()
    count += 1
  }
  return (count / (performance.now() - began)) * 1_000
}
