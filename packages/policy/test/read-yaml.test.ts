/** Positions and refusals of the YAML reader. */
import { describe, expect, it } from 'vitest'
import { formatProblem, readPolicies, readYaml } from '@ambient/policy'

const lines = (problems: readonly Parameters<typeof formatProblem>[0][]): string[] =>
  problems.map(formatProblem)

describe('readYaml', () => {
  it('reads several documents, Windows line ends and a byte order mark', () => {
    const { documents, problems } = readYaml(
      '\uFEFFa: 1\r\n---\r\n# nothing\r\n---\r\nb:\r\n  - x\r\n',
      'f.yaml',
    )
    expect(problems).toEqual([])
    expect(documents.map(d => d.root.toJson())).toMatchObject([{ a: 1 }, { b: ['x'] }])
    expect(documents[1]?.root.object()?.get('b')?.position).toEqual({ file: 'f.yaml', line: 6, column: 3 })
  })

  it('takes JSON and the items of a List', () => {
    const text = '{"kind":"List","items":[{"kind":"A","metadata":{"name":"x","namespace":"n"}},{"kind":"B"}]}'
    const { documents } = readYaml(text, 'l.json')
    expect(documents.map(d => [d.kind, d.namespace, d.name])).toEqual([
      ['A', 'n', 'x'],
      ['B', '', ''],
    ])
  })

  it('takes names that every object has, where any name may be', () => {
    const text =
      'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: n}\n'
    const selector = '{matchLabels: {prototype: a, constructor: b, toString: c}}'
    const { authorizationPolicies, problems } = readPolicies(`${text}spec: {selector: ${selector}}\n`, 'f')
    expect(problems).toEqual([])
    const labels = authorizationPolicies[0]?.spec.selector?.matchLabels ?? {}
    expect(Object.entries(labels)).toEqual([
      ['prototype', 'a'],
      ['constructor', 'b'],
      ['toString', 'c'],
    ])
    expect(lines(readPolicies(`${text}spec: {constructor: {}}\n`, 'f').problems)).toEqual([
      expect.stringContaining('f:4:8: error: spec.constructor: unknown field'),
    ])
  })

  it('takes the items of a list of one kind, which do not say it again', () => {
    const list = (extra: string): string =>
      `{"kind":"AList","apiVersion":"g/v1","metadata":{${extra}},"items":[{"metadata":{"name":"x"}},{"kind":"C","apiVersion":"h/v1"}]}`
    const kinds = (text: string): readonly string[][] =>
      readYaml(text, 'l.json').documents.map(d => [d.apiVersion, d.kind, d.name])
    expect(kinds(list('"resourceVersion":"1"'))).toEqual([
      ['g/v1', 'A', 'x'],
      ['h/v1', 'C', ''],
    ])
    expect(kinds(list('"name":"mine"'))).toEqual([['g/v1', 'AList', 'mine']])
    expect(kinds('{"kind":"List","items":[{"kind":"AList","items":[{}]}]}')).toEqual([['', 'A', '']])
  })

  it('tells an error that comes behind more warnings than it tells', () => {
    const { documents, problems } = readYaml('---\na: 1\n'.repeat(300), 'f')
    for (const { root } of documents) root.problem('odd', 'warning')
    documents[0]?.root.problem('wrong')
    expect(problems.filter(({ severity }) => severity === 'warning')).toHaveLength(100)
    expect(lines(problems)).toContain('f:2:1: error: wrong')
  })

  it.each([
    ['duplicate key', 'a: 1\nb: 2\na: 3\n', 'f:3:1: error: duplicate key "a"'],
    ['alias', 'a: &x 1\nb: *x\n', 'f:2:4: error: the alias "*x" is not allowed: write the value out'],
    ['tag', 'a: !mine 1\n', 'f:1:10: error: the tag "!mine" is not allowed: expected plain YAML'],
    ['dangerous key', 'a:\n  __proto__: 1\n', 'f:2:3: error: the key "__proto__" is not allowed'],
    ['key that is a list', '? [a]\n: 1\n', 'f:1:3: error: expected a string as key'],
  ])('refuses a %s with its position', (_, text, expected) => {
    const { documents, problems } = readYaml(text, 'f')
    expect(lines(problems)).toEqual([expected])
    expect(documents).toEqual([])
  })

  it('gives syntax errors a position', () => {
    const { documents, problems } = readYaml('a: b\nc: [1\n', 'f')
    expect(documents).toEqual([])
    expect(problems[0]).toMatchObject({ file: 'f', severity: 'error' })
    expect(problems[0]?.line).toBeGreaterThan(1)
  })

  it('refuses depth and size without exhausting anything', () => {
    const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)
    expect(lines(readYaml(deep(100), 'f').problems)[0]).toBe('f:1:66: error: nested deeper than 64 levels')
    // Where nesting alone would exhaust the stack of the parser, in blocks as in flows.
    for (const level of ['? ', '- ', '{a: '])
      expect(readYaml(level.repeat(5000), 'f').problems[0]?.severity).toBe('error')
    expect(readYaml(deep(5000), 'f').problems[0]?.message).toBe('nested deeper than 64 levels')
    expect(readYaml(`a: ${'x'.repeat(4 * 1024 * 1024)}`, 'f').problems[0]?.message).toBe(
      'larger than 4194304 bytes',
    )
  })

  it('keeps the good documents of a file with a bad one', () => {
    const { documents, problems } = readYaml('a: 1\n---\na: [\n---\nb: 2\n', 'f')
    expect(problems.length).toBeGreaterThan(0)
    expect(documents[0]?.root.toJson()).toMatchObject({ a: 1 })
  })
})

describe('YamlReader', () => {
  const open = (text: string) => {
    const file = readYaml(text, 'f.yaml')
    const root = file.documents[0]?.root
    if (root === undefined) throw new Error('no document')
    return { root, problems: file.problems }
  }

  it.each([
    ['string', 'a: 1', 'f.yaml:1:4: error: a: expected a string, found the number 1'],
    ['string', 'a: yes', 'f.yaml:1:4: error: a: expected a string, found the boolean yes'],
    ['text', 'a: ""', 'f.yaml:1:4: error: a: expected a string that is not empty, found the string ""'],
    ['integer', 'a: "1"', 'f.yaml:1:4: error: a: expected an integer, found the string "1"'],
    ['integer', 'a: 1.5', 'f.yaml:1:4: error: a: expected an integer, found the number 1.5'],
    ['boolean', 'a: {}', 'f.yaml:1:4: error: a: expected true or false, found a map'],
    ['strings', 'a: []', 'f.yaml:1:4: error: a: expected a map, found a list'],
    ['object', 'a: x', 'f.yaml:1:4: error: a: expected a map, found the string "x"'],
  ] as const)('%s of `%s`', (method, text, expected) => {
    const { root, problems } = open(text)
    root.object()?.get('a')?.[method]()
    expect(lines(problems)).toEqual([expected])
    expect(root.errorCount).toBe(1)
  })

  it('reads values as Kubernetes does', () => {
    const { root, problems } = open('a: on\nb: 0644\nc: "0644"\nd: ~\ne: off\n')
    const object = root.object(['a', 'b', 'c', 'd', 'e'])
    expect(object?.get('a')?.boolean()).toBe(true)
    expect(object?.get('b')?.integer({ min: 0, max: 511 })).toBe(420)
    expect(object?.get('c')?.string()).toBe('0644')
    expect(object?.get('d')).toBeUndefined()
    expect(object?.get('e')?.boolean()).toBe(false)
    expect(problems).toEqual([])
  })

  it('points at unknown keys and says what was meant', () => {
    const { root, problems } = open('spec:\n  acton: DENY\n')
    root.object(['spec'])?.get('spec')?.object(['action', 'rules'])
    expect(lines(problems)).toEqual([
      'f.yaml:2:3: error: spec.acton: unknown field, expected one of action, rules; did you mean "action"?',
    ])
  })

  it('points at unknown values, missing fields and list items', () => {
    const { root, problems } = open('kind: T\nmetadata: {name: n, namespace: s}\nm: stric\nl:\n- 1\n- b\n')
    const object = root.object()
    expect(object?.get('m')?.oneOf(['STRICT', 'PERMISSIVE'])).toBeUndefined()
    expect(object?.get('l')?.list(item => item.string())).toEqual(['b'])
    object?.required('z')
    expect(lines(problems)).toEqual([
      'f.yaml:1:1: error: the field "z" is required',
      'f.yaml:3:4: error: m: expected one of STRICT, PERMISSIVE (did you mean STRICT?), found the string "stric"',
      'f.yaml:5:3: error: l[0]: expected a string, found the number 1',
    ])
    expect(problems[0]?.resource).toBe('T s/n')
  })

  it('quotes hostile text harmlessly', () => {
    const { root, problems } = open('a: "x\\u202Ey\\nz"\n')
    root.object()?.get('a')?.boolean()
    expect(lines(problems)[0]).toBe(
      'f.yaml:1:4: error: a: expected true or false, found the string "x\\u202ey\\nz"',
    )
  })
})

it.each([
  [
    'UTF-16',
    '\u0000k\u0000i\u0000n\u0000d',
    'f:1:1: error: the control character "\\u0000": expected text in UTF-8',
  ],
  ['a binary file', 'a: 1\nb\u0007', 'f:2:2: error: the control character "\\u0007": expected text in UTF-8'],
])('%s is no text', (_, text, problem) => {
  const { documents, problems } = readYaml(text, 'f')
  expect(documents).toEqual([])
  expect(lines(problems)).toEqual([problem])
})

it('tells problems from the top, whatever was read first', () => {
  const text = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: a, namespace: shop }
spec:
  mtls: { mode: stric }
  mtsl: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: b, namespace: shop }
spec:
  action: ALLOWW
  ruels: []
`
  const places = (problems: ReturnType<typeof readPolicies>['problems']): string[] =>
    problems.map(({ line, column }) => `${line}:${column}`)
  expect(places(readPolicies(text, 'f').problems)).toEqual(['5:17', '6:3', '12:11', '13:3'])
  const { documents, problems } = readYaml(text, 'f')
  for (const { root } of [...documents].reverse()) root.object([])
  expect(places(problems)).toEqual(['1:1', '2:1', '3:1', '4:1', '8:1', '9:1', '10:1', '11:1'])
})

it('composes document by document: one that is too deep takes none before it away', () => {
  const { documents, problems } = readYaml(`a: 1\n---\n${'['.repeat(200)}${']'.repeat(200)}\n`, 'f')
  expect(documents.map(({ root }) => root.toJson())).toEqual([{ a: 1 }])
  expect(lines(problems)).toEqual([expect.stringMatching(/^f:3:\d+: error: nested deeper than \d+ levels$/)])
})
