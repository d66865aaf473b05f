/** Nothing in the repository says where it was written: no folder of a machine, no private registry. */
import { homedir } from 'node:os'
import { describe, expect, it } from 'vitest'
import { read, root, shown, trackedFiles } from './workspace.ts'

const tracked = trackedFiles()
const BINARY = /\.(png|jpg|gif|ico|pcap|der|wasm|gz|tgz|crl)$/

/** Built from parts, so that this file passes its own check. */
const joined = (...parts: readonly string[]): RegExp => new RegExp(parts.join(''))
const FORBIDDEN: readonly (readonly [what: string, pattern: RegExp])[] = [
  ['a home folder', joined('(^|[\\s"\'`(=:])/(home', '|Users)/[a-z][\\w.-]*/')],
  ['a Windows home folder', joined('[A-Z]:\\\\+Users', '\\\\')],
  ['a working folder', joined('(^|[\\s"\'`(=:])/(work', '|workspace|builds|runner)/[a-z]')],
  ['a named temporary folder', joined('/tmp', '/[a-zA-Z][\\w-]*/')],
  // Of all registries only the public one may be named.
  [
    'a private registry',
    joined(
      'https?://(?!registry\\.npmjs',
      '\\.org)[\\w.-]*(npm|registry|artifactory|nexus|verdaccio)[\\w.-]*[:/]',
    ),
  ],
]

describe.runIf(tracked !== undefined)('tracked files', () => {
  const files = (tracked ?? []).filter(file => !BINARY.test(file))

  for (const [what, pattern] of FORBIDDEN)
    it(`do not name ${what}`, () => expect(linesMatching(files, line => pattern.test(line))).toEqual([]))

  it('do not name this folder, nor the home of whoever runs this test', () => {
    const places = [root, homedir()].filter(place => place.length > 2).map(place => `${place}/`)
    expect(linesMatching(files, line => places.some(place => line.includes(place)))).toEqual([])
  })

  it('do not name the registry that this machine installs from, unless it is the public one', () => {
    const registry = process.env['npm_config_registry'] ?? ''
    const host = URL.canParse(registry) ? new URL(registry).host : ''
    const isPublic = host === '' || host.endsWith('npmjs.org') || /^(localhost|127\.0\.0\.1)\b/.test(host)
    expect(isPublic ? [] : linesMatching(files, line => line.includes(host))).toEqual([])
  })

  it('hold no private key', () => {
    const pattern = joined('-----BEGIN ([A-Z]+ )?PRIVATE', ' KEY-----\\s*$')
    expect(linesMatching(files, line => pattern.test(line))).toEqual([])
  })
})

function linesMatching(files: readonly string[], matches: (line: string) => boolean): string[] {
  return files.flatMap(file =>
    read(file)
      .split('\n')
      .flatMap((line, index) =>
        matches(line) ? [`${shown(file)}:${index + 1}: ${line.trim().slice(0, 120)}`] : [],
      ),
  )
}
