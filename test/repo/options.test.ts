/** What a user can set is written down, and what is written down can be set: flags of `ambient`, variables of the ztunnel. */
import { describe, expect, it } from 'vitest'
import { filesUnder, read, shown, sourcesOf } from './workspace.ts'

const matches = (text: string, pattern: RegExp): string[] => [
  ...new Set([...text.matchAll(pattern)].map(match => match[1] ?? '')),
]
const textOf = (files: readonly string[]): string => files.map(read).join('\n')

describe('flags of the ambient command', () => {
  const code = textOf(sourcesOf('cli'))
  const readme = read('packages/cli/README.md')
  const inCode = matches(code, /[oO]ption\(\s*'(?:-\w, )?--([a-z][a-z-]*)/g)

  it('are in its README', () => {
    expect(inCode.filter(flag => !readme.includes(`--${flag}`))).toEqual([])
  })

  it('in its README exist', () => {
    const known = [...inCode, 'help', 'version', 'import']
    const mentioned = matches(readme, /(?:^|[\s`[])--([a-z][a-z-]+)/gm)
    expect(mentioned.filter(flag => !known.includes(flag))).toEqual([])
  })
})

describe('environment of the ztunnel', () => {
  // What both proxies read alike, core reads for them.
  const code = textOf([...sourcesOf('ztunnel'), ...sourcesOf('core')])
  const readme = read('packages/ztunnel/README.md')

  it('that its README names is read', () => {
    const named = matches(readme, /\b([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])\b/g).filter(
      name => !/^(SO|SCM)_/.test(name) && !name.startsWith('AMBIENT_E_'),
    )
    expect(named.length).toBeGreaterThan(5)
    expect(named.filter(name => !code.includes(name))).toEqual([])
  })

  it('that is our own is in its README', () => {
    const own = matches(code, /'(AMBIENT_[A-Z0-9_]+)'/g).filter(name => !name.startsWith('AMBIENT_E_'))
    expect([...own, 'NODE_RELAY', 'SOCKS5_SECRETS_DIR'].filter(name => !readme.includes(name))).toEqual([])
  })

  it('is not read by any other package', () => {
    const others = ['core', 'identity', 'hbone', 'policy', 'discovery', 'mesh'].flatMap(sourcesOf)
    expect(others.filter(file => /process\.env\b/.test(read(file))).map(shown)).toEqual([])
  })
})

describe('programs of examples', () => {
  it('find the capture preload by its public name', () => {
    const reaching = filesUnder('examples').filter(file => /packages\/ztunnel\/(src|dist)/.test(read(file)))
    expect(reaching.map(shown)).toEqual([])
  })
})
