// An HBONE peer on Node's http2, client or server, for hbone-truth.ts: runs a script, prints what it saw.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, createSecureServer } from 'node:http2'
import { connect as tlsConnect } from 'node:tls'

const [role, port, cert, key, script] = process.argv.slice(2)
const files = {
  cert: readFileSync(cert),
  key: readFileSync(key),
  rejectUnauthorized: false,
  minVersion: 'TLSv1.3',
}
const say = text => void process.stdout.write(`${text}\n`)

async function run(stream, session) {
  let received = 0
  let over
  stream.on('data', chunk => {
    received += chunk.length
    say(`got ${received}`)
    stream.emit('first')
  })
  const ended = new Promise(resolve => {
    const finish = how => {
      if (over === undefined) say(`saw ${how}`)
      over = how
      resolve()
    }
    stream.on('end', () => {
      // A reset with NO_ERROR or CANCEL, and a lost session, look like this as well: `aborted` tells them apart.
      if (!stream.aborted) finish('end')
    })
    stream.on('error', () => {})
    stream.on('close', () =>
      finish(session.destroyed && stream.rstCode === 8 ? 'lost' : `reset ${stream.rstCode}`),
    )
  })
  say('open')
  for (const entry of script.split(' ')) {
    const [word, number] = entry.split(':')
    if (word === 'send') await send(stream, Number(number))
    else if (word === 'end') stream.end()
    else if (word === 'read') await ended
    else if (word === 'wait' && received === 0) await once(stream, 'first')
    else if (word === 'reset') stream.destroy(new Error('broken'))
  }
}

async function send(stream, count) {
  for (let left = count; left > 0 && !stream.destroyed; left -= 16_384) {
    const room = stream.write(Buffer.alloc(Math.min(left, 16_384)))
    if (!room) await Promise.race([once(stream, 'drain'), once(stream, 'close')]).catch(() => {})
  }
}

if (role === 'client') {
  const socket = tlsConnect({ ...files, host: '127.0.0.1', port: Number(port), ALPNProtocols: ['h2'] })
  await once(socket, 'secureConnect')
  const session = connect('https://127.0.0.1', { createConnection: () => socket })
  session.on('error', () => {})
  const stream = session.request(
    { ':method': 'CONNECT', ':authority': '127.0.0.1:8080' },
    { endStream: false },
  )
  await once(stream, 'response')
  await run(stream, session)
} else {
  const server = createSecureServer({ ...files, requestCert: true })
  server.on('session', session => session.on('error', () => {}))
  server.on('stream', stream => {
    stream.respond({ ':status': 200 })
    void run(stream, stream.session)
  })
  server.listen(Number(port), '127.0.0.1', () => say(`listening ${server.address().port}`))
}
// Stays until it is ended.
setInterval(() => {}, 60_000)
