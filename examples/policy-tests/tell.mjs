// The whole story: the tests of both kinds, what happens when a rule goes, and the exercise, before and after the repair.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const here = import.meta.dirname
const copy = mkdtempSync(join(tmpdir(), 'policy-tests-'))

const require = createRequire(import.meta.url)
/** What `npx ambient` and `npx vitest` run. */
const programs = {
  ambient: join(dirname(require.resolve('@ambient/cli/package.json')), 'dist', 'bin.js'),
  vitest: join(dirname(require.resolve('vitest/package.json')), 'vitest.mjs'),
}

/** Runs a command; what it printed is an error of this program when its exit code is not the expected one. */
function run(expected, cwd, command, ...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [programs[command], ...args], {
    cwd,
    encoding: 'utf8',
  })
  if (status !== expected)
    throw new Error(
      `${command} ${args.join(' ')} ended with ${status}, not with ${expected}\n${stdout}${stderr}`,
    )
  return stdout + stderr
}

const policyTest = (expected, cwd, ...args) => run(expected, cwd, 'ambient', 'policy', 'test', ...args)
const strictly = ['tests', '--coverage', '--coverage-threshold', '100']
/** The line of an output that has what the pattern says. */
const line = (output, pattern) =>
  output
    .split('\n')
    .find(text => pattern.test(text))
    ?.trim()

function change(file, from, to) {
  const path = join(copy, file)
  const text = readFileSync(path, 'utf8')
  const changed = text.replace(from, to)
  if (changed === text) throw new Error(`${file} has nothing to change`)
  writeFileSync(path, changed)
}

try {
  console.log('In TypeScript:')
  const vitest = run(0, here, 'vitest', 'run', '--no-color')
  console.log(`  ${line(vitest, /^all /)}`)

  console.log('In YAML:')
  const yaml = policyTest(0, here, ...strictly)
  console.log(`  ${line(yaml, /passed/)}`)
  console.log(`  ${line(yaml, /^all /)}`)

  console.log('Somebody deletes the rule of the admins:')
  for (const part of ['policies', 'tests', 'exercise'])
    cpSync(join(here, part), join(copy, part), { recursive: true })
  change(
    'policies/items.yaml',
    / {4}- from:\n {8}- source:\n {12}serviceAccounts: \[admin\][\s\S]*?\n---/,
    '---',
  )
  const deleted = policyTest(1, copy, ...strictly)
  console.log(`  ${line(deleted, /passed/)}`)
  console.log(`  ${line(deleted, /^coverage is/)}`)

  console.log('The exercise:')
  const broken = policyTest(1, copy, 'exercise')
  for (const text of broken.split('\n').filter(text => /^ {2}(ok|FAIL)|expected|found: /.test(text)))
    console.log(text)

  console.log('The exercise, repaired:')
  change('exercise/orders.yaml', '        - operation:\n            paths', '            paths')
  console.log(`  ${line(policyTest(0, copy, 'exercise'), /passed/)}`)
} finally {
  rmSync(copy, { recursive: true, force: true })
}
