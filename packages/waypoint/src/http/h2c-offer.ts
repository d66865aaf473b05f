/** `Upgrade: h2c` is an offer that a server may leave lying; curl makes it with every `--http2`. We do, as Envoy does. */
import type { IncomingMessage } from 'node:http'

export function isH2cOffer(message: IncomingMessage): boolean {
  return tokens(message.headers.upgrade).some(token => token === 'h2c' || token.startsWith('h2c-'))
}

/** The head once more, for a parser that let go of the connection because of the offer. */
export function withoutH2cOffer(message: IncomingMessage): Buffer {
  const lines = [`${message.method} ${message.url} HTTP/${message.httpVersion}`]
  const raw = message.rawHeaders
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    const value = raw[at + 1] ?? ''
    const lower = name.toLowerCase()
    if (lower === 'upgrade' || lower === 'http2-settings') continue
    if (lower !== 'connection') lines.push(`${name}: ${value}`)
    else {
      const kept = tokens(value).filter(token => token !== 'upgrade' && token !== 'http2-settings')
      if (kept.length > 0) lines.push(`${name}: ${kept.join(', ')}`)
    }
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

function tokens(value: string | undefined): string[] {
  return (value ?? '').split(',').map(token => token.trim().toLowerCase())
}
