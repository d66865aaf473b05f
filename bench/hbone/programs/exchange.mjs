// What generator and application say to each other: fixed lengths, so that both count instead of parsing.

/** Asks for one small HTTP/1.1 answer on a connection that stays open. Its first byte chooses what the application does. */
export const REQUEST = Buffer.from(
  'GET / HTTP/1.1\r\nHost: bench.local\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n',
)
const BODY = 'hello from the other side of two loopback hops\n'
export const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
)

/** First bytes of the other conversations. */
export const ASK = {
  request: REQUEST[0] ?? 0,
  /** The application only counts what comes. */
  sink: 'S'.charCodeAt(0),
  /** The application sends as fast as it is read. */
  source: 'D'.charCodeAt(0),
  /** The application sends back what it gets. */
  echo: 'E'.charCodeAt(0),
}

const CHUNK = Buffer.alloc(128 << 10, ASK.sink)

/** Writes as fast as the socket takes it, until it is destroyed. */
export function flood(socket) {
  const more = () => {
    while (!socket.destroyed && socket.write(CHUNK));
  }
  socket.on('drain', more)
  more()
}
