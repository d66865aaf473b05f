/** Files of tests, and the policies that each of them is about. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf, quoteText } from '@ambient/core'
import { type PolicyTestFile, type Problem, readPolicyTests } from '@ambient/policy'
import { CliError } from '../errors.ts'
import type { CliHost } from '../host.ts'
import { type PolicyFiles, readPolicyDocuments, withoutSeverity } from './read-documents.ts'

/** Tests, with the policies that they ask. */
export interface TestsWithPolicies {
  readonly tests: PolicyTestFile
  readonly documents: PolicyFiles
}

/**
 * Reads every file of tests that the paths name, a folder with all folders in it.
 * @param policyPaths of `-f`: beside what each file of tests names itself
 * @throws CliError `AMBIENT_E_CLI_USAGE` when there are no tests, or tests without policies
 * @throws CliError `AMBIENT_E_CLI_DOCUMENTS` with each mistake as `file:line:column: message`
 */
export async function readTests(
  paths: readonly string[],
  policyPaths: readonly string[],
  host: CliHost,
): Promise<readonly TestsWithPolicies[]> {
  const files = (await Promise.all(paths.map(findTests))).flat()
  if (files.length === 0)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      `no tests: no *.policy-test.yaml in ${paths.map(path => quoteText(path)).join(', ')}`,
    )
  const texts = await Promise.all(files.map(async file => ({ file, text: await readFile(file, 'utf8') })))
  const read = texts.map(({ file, text }) => readPolicyTests(text, file))
  failWith(read.flatMap(({ problems }) => problems))
  const known = new Map<string, Promise<PolicyFiles>>()
  return Promise.all(
    read.flatMap(({ tests }) => (tests === undefined ? [] : [withPolicies(tests, policyPaths, known, host)])),
  )
}

function failWith(problems: readonly Problem[]): void {
  const errors = problems.filter(({ severity }) => severity === 'error')
  if (errors.length > 0) throw new CliError('AMBIENT_E_CLI_DOCUMENTS', errors.map(withoutSeverity).join('\n'))
}

/** Files that ask the same policies share them, and their warnings are printed once. */
async function withPolicies(
  tests: PolicyTestFile,
  policyPaths: readonly string[],
  known: Map<string, Promise<PolicyFiles>>,
  host: CliHost,
): Promise<TestsWithPolicies> {
  const own = tests.policies.map(path => join(dirname(tests.file), path))
  const paths = [...new Set([...policyPaths, ...own])]
  if (paths.length === 0)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      `${tests.file} is about no policies: name them under \`policies:\`, or with -f`,
    )
  const key = JSON.stringify(paths)
  const documents = known.get(key) ?? readPolicyDocuments(paths, host, { emptySelector: 'warned' })
  known.set(key, documents)
  return { tests, documents: await documents }
}

async function findTests(path: string): Promise<readonly string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path]
    return await testsOf(path)
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_USAGE', `${quoteText(path)} cannot be read: ${messageOf(cause)}`, {
      cause,
    })
  }
}

async function testsOf(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const sorted = entries
    .filter(({ name }) => !name.startsWith('.') && name !== 'node_modules')
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const found = await Promise.all(
    sorted.map(entry => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return testsOf(path)
      return /\.policy-test\.ya?ml$/.test(entry.name) ? [path] : []
    }),
  )
  return found.flat()
}
