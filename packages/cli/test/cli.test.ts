import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { runCli } from '../src/index.ts'
import { eventPrinter } from '../src/print-events.ts'
import { formatTable } from '../src/table.ts'

const folders: string[] = []

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

function host(): {
  out: () => string
  err: () => string
  host: Parameters<typeof runCli>[1]
} {
  let [out, err] = ['', '']
  return {
    out: () => out,
    err: () => err,
    host: {
      environment: { PATH: '/usr/bin:/bin' },
      nodeVersion: '24.0.0',
      colors: false,
      stdout: text => {
        out += text
      },
      stderr: text => {
        err += text
      },
      onInterrupt: () => () => {},
    },
  }
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const given = host()
  const code = await runCli(args, given.host)
  return { code, out: given.out(), err: given.err() }
}

describe('the command line', () => {
  test.each([
    [['--frobnicate'], /^error: unknown option '--frobnicate'/],
    [['up', '.', '--nodes', 'a'], /^error: unknown option '--nodes' \(Did you mean --node\?\)/],
    [['down'], /^error: unknown command 'down'/],
    [['up'], /^error: missing required argument 'folder'/],
    [['up', 'a', 'b'], /^error: too many arguments/],
    [['up', 'a', '-o', 'xml'], /^error: .*'xml' is invalid. Allowed choices are table, json\.$/],
    [['up', 'a', '--block', 'x'], /^error: .*expected a whole number from 1 to 254\.$/],
  ])('%j is one clear line and exit code 2', async (args, message) => {
    const { code, out, err } = await run(...args)
    expect(code).toBe(2)
    expect(out).toBe('')
    expect(err).toMatch(/^[^\n]+\n$/)
    expect(err.trim()).toMatch(message)
  })

  test('help has examples, of the command and of each of its own', async () => {
    for (const args of [['--help'], ['up', '--help']]) {
      const { code, out } = await run(...args)
      expect(code).toBe(0)
      expect(out).toContain('Examples:\n  $ ambient up ')
    }
  })

  test('version prints as a table and as JSON', async () => {
    expect((await run('version')).out).toBe('ambient  0.1.0\nnode     24.0.0\n')
    expect(JSON.parse((await run('version', '-o', 'json')).out)).toEqual({ ambient: '0.1.0', node: '24.0.0' })
  })
})

describe('up', () => {
  test('a folder that is not there is one line and exit code 1', async () => {
    const { code, err } = await run('up', '/no/such/folder')
    expect(code).toBe(1)
    expect(err).toMatch(/^error: .*\/no\/such\/folder.*\[AMBIENT_E_[A-Z_]+\]\n$/)
  })

  test('manifests with mistakes start nothing; each mistake is file:line:column', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
    folders.push(folder)
    await writeFile(join(folder, 'bad.yaml'), 'apiVersion: v1\nkind: Service\nmetadata:\n  name: [x]\n')
    const { code, err } = await run('up', folder)
    expect(code).toBe(1)
    expect(err).toContain(`${join(folder, 'bad.yaml')}:4:9: error: `)
    expect(err.trim().split('\n').at(-1)).toBe('nothing is running: the manifests have errors')
  })

  test('a bad option value is named', async () => {
    const { code, err } = await run('up', '.', '--node', 'Not_A_Label')
    expect(code).toBe(1)
    expect(err).toContain('node name "Not_A_Label" is not a DNS label')
  })
})

describe('events for people', () => {
  test('each kind of trouble is a sentence', () => {
    const given = host()
    const print = eventPrinter({ format: 'table', logs: true, folder: 'shop' }, given.host)
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

  test('as JSON each event is one line', () => {
    const given = host()
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
