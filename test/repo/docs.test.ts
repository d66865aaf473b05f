/** Documents tell the truth: code in them compiles and runs, links lead somewhere, commands exist. */
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blocksOf, type CodeBlock, documents } from './markdown.ts'
import { runProgram } from './run-program.ts'
import { entries, order, read, root, shown } from './workspace.ts'

const blocks = documents().flatMap(blocksOf)
const programs = blocks.filter(block => block.language === 'ts')
const runnable = programs.filter(block => block.flags.includes('run'))
const shell = blocks.filter(block => ['sh', 'bash', 'shell', 'console'].includes(block.language))

describe('TypeScript in documents', () => {
  it('is there', () => expect(programs.length).toBeGreaterThan(0))

  it('type-checks against the sources', () => {
    expect(typeErrors(programs)).toEqual([])
  }, 60_000)

  describe('marked `run`', () => {
    let folder: string
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), 'ambient-docs-'))
      // The packages as they are built: what a reader would install.
      symlinkSync(join(root, 'test', 'node_modules'), join(folder, 'node_modules'), 'dir')
    })
    afterAll(() => rmSync(folder, { recursive: true, force: true }))

    for (const block of runnable)
      it(`runs and prints what its comments say: ${block.name}`, async () => {
        const file = join(folder, `${block.name.replace(/\W+/g, '-')}.mjs`)
        writeFileSync(file, javascript(block.code))
        const { code, output } = await runProgram(process.execPath, [file], {
          cwd: folder,
          timeoutMs: 20_000,
        })
        expect({ code, output }).toEqual({ code: 0, output: expect.any(String) })
        for (const promised of promisedOutput(block.code)) expect(output).toContain(promised)
      }, 30_000)
  })
})

describe('commands in documents', () => {
  const scripts = (JSON.parse(read('package.json')) as { scripts: Record<string, string> }).scripts

  it('are scripts that exist', () => {
    const missing = shell.flatMap(block =>
      [...block.code.matchAll(/\bnpm (?:run(?: -s)? ([\w:-]+)|(test|start))\b/g)]
        .map(match => match[1] ?? match[2] ?? '')
        .filter(name => scriptsNear(block)[name] === undefined)
        .map(name => `${block.name}: npm run ${name}`),
    )
    expect(missing).toEqual([])
  })

  it('name files that exist', () => {
    const missing = shell.flatMap(block =>
      [...block.code.matchAll(/\bnode ((?:[\w.@-]+\/)*[\w.@-]+\.[cm]?js)\b/g)]
        .map(match => match[1] ?? '')
        .filter(file => !file.includes('dist/'))
        .filter(file => !existsSync(join(root, file)) && !existsSync(join(dirname(block.file), file)))
        // A block of the same document is the file.
        .filter(file => !blocksOf(block.file).some(({ flags }) => flags[0] === file))
        .map(file => `${block.name}: ${file}`),
    )
    expect(missing).toEqual([])
  })

  /** An example's README may mean its own scripts. */
  function scriptsNear(block: CodeBlock): Record<string, string> {
    const own = join(dirname(block.file), 'package.json')
    if (!existsSync(own)) return scripts
    return { ...scripts, ...(JSON.parse(read(own)) as { scripts?: Record<string, string> }).scripts }
  }
})

describe('links in documents', () => {
  it('lead to files of the repository', () => {
    const broken = documents().flatMap(file =>
      [
        ...read(file)
          .replace(/```[\s\S]*?```/g, '')
          .matchAll(/\]\(([^)\s]+)\)/g),
      ]
        .map(match => decodeURI((match[1] ?? '').split('#')[0] ?? ''))
        .filter(target => target !== '' && !/^[a-z]+:/.test(target))
        .filter(target => !existsSync(resolve(dirname(file), target)))
        .map(target => `${shown(file)}: ${target}`),
    )
    expect(broken).toEqual([])
  })

  it('to sections lead to a heading', () => {
    const broken = documents().flatMap(file =>
      [
        ...read(file)
          .replace(/```[\s\S]*?```/g, '')
          .matchAll(/\]\(([^)\s#]*)#([^)\s]+)\)/g),
      ]
        .filter(([, path]) => !/^[a-z]+:/.test(path ?? ''))
        .filter(([, path, anchor]) => {
          const target = path === '' || path === undefined ? file : resolve(dirname(file), path)
          return target.endsWith('.md') && existsSync(target) && !anchorsOf(target).includes(anchor ?? '')
        })
        .map(([, path, anchor]) => `${shown(file)}: ${path}#${anchor}`),
    )
    expect(broken).toEqual([])
  })
})

describe('paths in documents', () => {
  it('are files of the repository', () => {
    const missing = documents().flatMap(file =>
      [...read(file).matchAll(/`((?:packages|examples|docs|test|bench|\.config|\.ci)\/[\w./-]+)`/g)]
        .map(match => (match[1] ?? '').replace(/:\d+$/, ''))
        .filter(path => !/\/(dist|node_modules)\//.test(path) && !existsSync(join(root, path)))
        .map(path => `${shown(file)}: ${path}`),
    )
    expect(missing).toEqual([])
  })
})

/** GitHub's anchors of headings. */
function anchorsOf(file: string): string[] {
  return [...read(file).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    (heading ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-'),
  )
}

/** What `console.log(…) // this` promises to print. */
function promisedOutput(code: string): string[] {
  return [...code.matchAll(/console\.log\(.*\) \/\/ (.+)$/gm)].map(match => match[1] ?? '')
}

function javascript(code: string): string {
  return ts.transpileModule(code, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  }).outputText
}

/** Compiles every block as a module of its own beside its document, in memory. */
function typeErrors(all: readonly CodeBlock[]): string[] {
  const config = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
    ts.sys,
    root,
  )
  const paths = Object.fromEntries(order.flatMap(entries).map(entry => [entry.specifier, [entry.source]]))
  const options = { ...config.options, paths, noUnusedLocals: false, noUnusedParameters: false }
  const virtual = new Map(all.map(block => [join(dirname(block.file), `${block.line}.block.ts`), block]))
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = file => virtual.has(file) || fileExists.call(host, file)
  host.readFile = file => virtual.get(file)?.code ?? readFile.call(host, file)
  host.getSourceFile = (file, ...rest) => {
    const block = virtual.get(file)
    if (block === undefined) return getSourceFile.call(host, file, ...rest)
    return ts.createSourceFile(
      file,
      `${block.given}\n${block.code}\nexport {}\n`,
      ts.ScriptTarget.ES2022,
      true,
    )
  }
  const program = ts.createProgram([...virtual.keys()], options, host)
  return [...virtual].flatMap(([file, block]) => {
    const source = program.getSourceFile(file)
    return ts.getPreEmitDiagnostics(program, source).map(diagnostic => {
      const line = source?.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line ?? 0
      return `${shown(block.file)}:${block.line + line}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ')}`
    })
  })
}
