/** Splits a program's output into lines, with a bound on how long one may be. */
import { StringDecoder } from 'node:string_decoder'
import type { Readable } from 'node:stream'
import { meshDefaults } from '../defaults.ts'

/** Calls back for each line, and for what is left when the stream ends. */
export function eachLine(stream: Readable, onLine: (line: string) => void): void {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  stream.on('data', (chunk: Buffer) => {
    const lines = (rest + decoder.write(chunk)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line.replace(/\r$/, '').slice(0, meshDefaults.maxLineBytes))
    while (rest.length > meshDefaults.maxLineBytes) {
      onLine(rest.slice(0, meshDefaults.maxLineBytes))
      rest = rest.slice(meshDefaults.maxLineBytes)
    }
  })
  stream.on('end', () => {
    rest += decoder.end()
    if (rest !== '') onLine(rest)
    rest = ''
  })
  stream.on('error', () => {})
}
