import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { eventPrinter } from '../src/print-events.ts'
import { formatTable } from '../src/table.ts'
import { run, testHost } from './host.ts'

const folders: string[] = []

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

describe('the command line', () => {
  test.each([
    [['--frobnicate'], /^error: unknown option '--frobnicate'/],
    [['up', '.', '--nodes', 'a'], /^error: unknown option '--nodes' \(Did you mean --node\?\)/],
    [['down'], /^error: unknown command 'down'/],
    [['up'], /^error: missing required argument 'folder'/],
    [['up', 'a', 'b'], /^error: too many arguments/],
    [['up', 'a', '-o', 'xml'], /^error: .*'xml' is invalid. Allowed choices are table, json, yaml\.$/],
    [['up', 'a', '--block', 'x'], /^error: .*expected a whole number from 1 to 254\.$/],
    [['up', 'a', '--block', '300'], /^error: .*'300' is invalid. expected a whole number from 1 to 254\.$/],
    [['up', 'a', '--node', 'Not_A_Label'], /^error: .*'Not_A_Label' is invalid. expected a DNS label/],
    [['up', 'a', '--node', 'x', '--node', 'x'], /^error: .* nodes must have different names\.$/],
    [['up', 'a', '--logs', 'some'], /Allowed choices are programs, all, none\.$/],
    [['label', 'ns', 'a'], /^error: missing required argument 'labels'/],
    [['label', 'node', 'a', 'x=y'], /expected ns, svc, pod or gateway\.$/],
    [['label', 'ns', 'a', 'x'], /expected KEY=VALUE or KEY-\.$/],
    [['label', 'ns', 'a', 'x=no spaces'], /a label value has at most 63 of/],
    [['waypoint', 'apply', '--name', 'none'], /"none" is what opts out of waypoints/],
    [['waypoint', 'apply', '--for', 'pods'], /Allowed choices are service, workload, all, none\.$/],
    [['waypoint', 'apply', '--waypoint-timeout', '5'], /expected a duration such as 90s, 1m30s or 7d\.$/],
    [['waypoint', 'delete'], /^error: name the waypoints to delete, or --all, or --revision \[/],
    [['waypoint', 'delete', 'a', '--all'], /^error: either names, or --all, or --revision \[/],
  ])('%j is one clear line and exit code 2', async (args, message) => {
    const { code, out, err } = await run(...args)
    expect(code).toBe(2)
    expect(out).toBe('')
    expect(err).toMatch(/^[^\n]+\n$/)
    expect(err.trim()).toMatch(message)
  })

  test('help has examples, of the command and of each of its own', async () => {
    for (const args of [
      [],
      ['up'],
      ['label'],
      ['waypoint'],
      ...['generate', 'apply', 'list', 'status', 'delete'].map(command => ['waypoint', command]),
      ['version'],
    ]) {
      const { code, out } = await run(...args, '--help')
      expect(code).toBe(0)
      expect(out).toContain('Examples:\n  $ ambient ')
    }
  })

  test('version prints as a table and as JSON', async () => {
    expect((await run('version')).out).toBe('ambient  0.1.0\nnode     24.0.0\n')
    expect(JSON.parse((await run('version', '-o', 'json')).out)).toEqual({ ambient: '0.1.0', node: '24.0.0' })
    expect((await run('version', '-o', 'yaml')).out).toBe('ambient: 0.1.0\nnode: 24.0.0\n')
    expect(await run('--version')).toEqual({ code: 0, out: '0.1.0\n', err: '' })
  })
})

describe('up', () => {
  async function newFolder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
    folders.push(folder)
    return folder
  }

  test('a folder that is not there, is a file or has no manifests is one line and exit code 1', async () => {
    const folder = await newFolder()
    const [gone, file] = [join(folder, 'gone'), join(folder, 'app.yaml')]
    const nothing = `there are no manifests (*.yaml, *.yml, *.json) in ${folder} [AMBIENT_E_CLI_NOT_FOUND]`
    expect(await run('up', folder)).toEqual({ code: 1, out: '', err: `error: ${nothing}\n` })
    await writeFile(file, '')
    const noFolder = `error: there is no folder ${gone} [AMBIENT_E_MANIFESTS]\n`
    expect(await run('up', gone)).toEqual({ code: 1, out: '', err: noFolder })
    expect((await run('label', 'ns', 'a', 'b=c', '--mesh', gone)).err).toBe(noFolder)
    const noFile = `error: ${file} is a file; name its folder [AMBIENT_E_MANIFESTS]\n`
    expect(await run('up', file)).toEqual({ code: 1, out: '', err: noFile })
  })

  test('what is to be left out and is not there is a typo: the names that there are, and exit code 2', async () => {
    const folder = await newFolder()
    for (const name of ['a.yaml', 'b.yaml']) await writeFile(join(folder, name), '')
    expect(await run('up', folder, '--without', 'c.yaml')).toEqual({
      code: 2,
      out: '',
      err: 'error: --without c.yaml: there is no such manifest; there are: a.yaml, b.yaml [AMBIENT_E_CLI_USAGE]\n',
    })
  })

  test('manifests with mistakes start nothing; each mistake is file:line:column', async () => {
    const folder = await newFolder()
    await writeFile(join(folder, 'bad.yaml'), 'apiVersion: v1\nkind: Service\nmetadata:\n  name: [x]\n')
    const { code, err } = await run('up', folder)
    expect(code).toBe(1)
    expect(err).toContain(`${join(folder, 'bad.yaml')}:4:9: error: `)
    expect(err.trim().split('\n').at(-1)).toBe('nothing is running: the manifests have errors')
  })
})

describe('events for people', () => {
  test('each kind of trouble is a sentence', () => {
    const given = testHost()
    const print = eventPrinter({ format: 'table', logs: 'programs', folder: 'shop' }, given.host)
    const source = { kind: 'pod', name: 'n/shop-1' } as const
    print({ kind: 'output', source, stream: 'stdout', line: 'hello' })
    print({ kind: 'exited', source, code: null, signal: 'SIGKILL', restartInMs: 250, asked: false })
    print({
      kind: 'exited',
      source: { kind: 'ztunnel', name: 'node-a' },
      code: 1,
      signal: null,
      asked: false,
    })
    print({ kind: 'exited', source, code: 0, signal: null, asked: true })
    const problem = {
      file: 'a.yaml',
      line: 3,
      column: 7,
      message: 'expected x, found y',
      severity: 'error',
    } as const
    print({ kind: 'problems', problems: [problem], serving: 'last good configuration' })
    print({ kind: 'applied', generation: 2, started: [], ended: [], enrolled: ['n/a', 'n/b'], left: [] })
    expect(given.out()).toBe('n/shop-1 | hello\n')
    expect(given.err()).toBe(
      [
        'n/shop-1 was ended by SIGKILL; it is started again in 250 ms',
        'ztunnel node-a ended with 1',
        'shop/a.yaml:3:7: error: expected x, found y',
        'the mesh goes on with the last good configuration',
        'configuration 2 is in place: enrolled n/a, n/b',
        '',
      ].join('\n'),
    )
  })

  test("the proxies' access logs do not drown what programs say", () => {
    const shown = (logs: 'programs' | 'all' | false): string => {
      const given = testHost()
      const print = eventPrinter({ format: 'table', logs, folder: '.' }, given.host)
      const say = (kind: 'pod' | 'ztunnel', line: string): void =>
        print({ kind: 'output', source: { kind, name: 'a' }, stream: 'stdout', line })
      say('pod', 'hello')
      say('ztunnel', 'T\tinfo\taccess\tconnection complete')
      say('ztunnel', 'T\terror\taccess\tconnection failed')
      say('ztunnel', 'T\tinfo\tready')
      say('ztunnel', 'T\twarn\txds\tthe control plane is away')
      return given.out()
    }
    const trouble = 'ztunnel a | T\twarn\txds\tthe control plane is away\n'
    expect(shown('programs')).toBe(`a | hello\n${trouble}`)
    expect(shown('all').split('\n')).toHaveLength(6)
    expect(shown(false)).toBe('')
  })

  test('what a policy refuses is a sentence: who, what, which policy and why', () => {
    const told = (fields: string, logs: 'programs' | 'all' | false = 'programs'): string => {
      const given = testHost()
      const line = `T\terror\taccess\t${fields}`
      const source = { kind: 'ztunnel', name: 'a' } as const
      eventPrinter(
        { format: 'table', logs, folder: '.' },
        given.host,
      )({
        kind: 'output',
        source,
        stream: 'stdout',
        line,
      })
      return given.err()
    }
    const caller = 'src.addr=127.9.10.3:388 src.identity="spiffe://cluster.local/ns/shop/sa/x"'
    const target = 'dst.addr=127.9.10.1:15008 dst.hbone_addr=127.9.10.1:7000'
    const none = 'connection closed due to policy rejection: allow policies exist, but none allowed'
    const l4 = `connection complete\t${caller} ${target} dst.service="web.shop.svc" policy="shop/a" error="${none}"`
    const who = 'denied: cluster.local/ns/shop/sa/x to '
    expect(told(l4)).toBe(`${who}web.shop.svc:7000 by shop/a: allow policies exist, but none allowed\n`)
    expect(told(l4, 'all')).toBe('')
    expect(told(l4, false)).toBe('')
    expect(
      told(
        `denied by policy\t${caller} dst.service="web.shop.svc" method="GET" path="/a\\u001b" authority="web" policy="shop/a" rule=0 reason="explicitly denied by: shop/a"`,
      ),
    ).toBe(`${who}GET web/a\\u001b by shop/a rule[0]: explicitly denied by: shop/a\n`)
    expect(told(`connection complete\tsrc.addr=127.9.1.1:2 ${target} error="${none}"`)).toContain(
      'denied: 127.9.1.1:2 (plaintext) to 127.9.10.1:7000: allow policies exist',
    )
    expect(told(`connection complete\t${caller} ${target} error="http status: 401 Unauthorized"`)).toBe('')
  })

  test('as JSON each event is one line', () => {
    const given = testHost()
    const print = eventPrinter({ format: 'json', logs: false, folder: '.' }, given.host)
    print({ kind: 'output', source: { kind: 'pod', name: 'n/p' }, stream: 'stdout', line: 'not asked for' })
    print({ kind: 'warning', message: 'two\nlines' })
    expect(given.out()).toBe('{"kind":"warning","message":"two\\nlines"}\n')
  })

  test('tables are aligned', () => {
    expect(
      formatTable([
        ['A', 'LONG'],
        ['three', 'x'],
        ['', 'y'],
      ]),
    ).toBe('A      LONG\nthree  x\n       y\n')
  })
})
