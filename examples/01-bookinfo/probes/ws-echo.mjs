// Opens a WebSocket, sends each argument after the URL, and prints what comes back as one JSON line.
import WebSocket from 'ws'

const [url, ...messages] = process.argv.slice(2)
const socket = new WebSocket(url, { handshakeTimeout: 5_000 })
const echoes = []
let server

const print = facts => console.log(JSON.stringify({ echoes, server, ...facts }))

socket.on('upgrade', response => {
  server = response.headers.server
})
socket.on('open', () => {
  for (const message of messages) socket.send(message)
})
socket.on('message', data => {
  echoes.push(String(data))
  if (echoes.length === messages.length) socket.close(1000)
})
socket.on('error', error => print({ error: error.code ?? error.message }))
socket.on('close', code => {
  if (code === 1000) print({ code })
})
