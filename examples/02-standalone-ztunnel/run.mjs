// Starts an app and the ztunnel of its workload, sends a request through SOCKS5 → HBONE → app, prints what happened.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const dist = join(dirname(createRequire(import.meta.url).resolve('@ambient/ztunnel/package.json')), 'dist')
const capture = pathToFileURL(join(dist, 'capture.js')).href
// A loopback address of our own instead of the file's, so that many of these may run at once.
const random = max => 1 + Math.floor(Math.random() * max)
const block = `127.${90 + random(60)}.${random(250)}`
const [workload, vip] = [`${block}.1`, `${block}.2`]

// 1. The application: plain HTTP on the workload's address. It knows nothing of the mesh.
const app = createServer((request, response) =>
  response.end(`hello from ${request.headers.host}${request.url}\n`),
)
app.listen(0, workload)
await once(app, 'listening')
const { port } = app.address()

// 2. The ztunnel, with the environment and the file of Istio's.
const folder = await mkdtemp(join(tmpdir(), 'standalone-'))
const config = (await readFile(new URL('mesh.yaml', import.meta.url), 'utf8'))
  .replaceAll('127.90.0.1', workload)
  .replaceAll('127.90.0.2', vip)
  .replaceAll('8080', String(port))
await writeFile(join(folder, 'mesh.yaml'), config)
const ztunnel = spawn(process.execPath, [join(dist, 'bin.js'), 'proxy'], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: {
    PROXY_MODE: 'dedicated',
    PROXY_WORKLOAD_INFO: 'default/hello-1/hello',
    INSTANCE_IP: workload,
    NODE_NAME: 'local',
    XDS_ADDRESS: '',
    LOCAL_XDS_PATH: join(folder, 'mesh.yaml'),
    FAKE_CA: 'true',
    UNSTABLE_ENABLE_SOCKS5: 'true',
  },
})
const access = []
const lines = createInterface({ input: ztunnel.stdout })
lines.on('line', line => {
  if (line.includes('\taccess\t')) access.push(line)
})
await new Promise((resolve, reject) => {
  lines.on('line', line => line.includes('ztunnel is ready') && resolve())
  ztunnel.on('exit', code => reject(new Error(`the ztunnel ended with ${code}`)))
})

// 3. A client that is captured by the preload: its name look-up and its connection go through SOCKS5.
const client = spawn(
  process.execPath,
  [
    '--import',
    capture,
    '--eval',
    "fetch('http://hello/world').then(r => r.text()).then(t => process.stdout.write(t))",
  ],
  { stdio: ['ignore', 'pipe', 'inherit'], env: { AMBIENT_CAPTURE_PROXY: `socks5://${workload}:15080` } },
)
let answer = ''
client.stdout.on('data', chunk => {
  answer += chunk
})
await once(client, 'close')

// 4. The ledger: one line on each side, with the identities that mutual TLS proved.
const metrics = await (
  await fetch(`http://${workload}:15020/metrics`, { headers: { connection: 'close' } })
).text()
const opened = metrics.split('\n').filter(line => line.startsWith('istio_tcp_connections_opened_total'))
ztunnel.kill('SIGTERM')
await once(ztunnel, 'exit')
app.closeAllConnections()
app.close()
await rm(folder, { recursive: true })

const proven = access.filter(line =>
  line.includes('src.identity="spiffe://cluster.local/ns/default/sa/hello"'),
)
console.log(`answer          ${answer.trim()}`)
console.log(`access log      ${access.length} lines, ${proven.length} with a proven identity`)
for (const line of access) console.log(`  ${line.split('\t').slice(2).join(' ')}`)
console.log(
  `metrics         ${opened.length} series of opened connections, ${opened.filter(line => line.includes('mutual_tls')).length} mutual_tls`,
)
const ok =
  answer === 'hello from hello/world\n' && access.length === 2 && proven.length === 2 && opened.length === 2
console.log(ok ? 'ok' : 'not what was expected')
process.exitCode = ok ? 0 : 1
