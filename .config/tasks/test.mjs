// `npm test`: sets up, builds what changed, runs every test; ends with the counts alone on the last line.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from './build.mjs'
import { root, run, say } from './lib.mjs'

await build({ types: true })
const folder = mkdtempSync(join(tmpdir(), 'ambient-test-'))
const report = join(folder, 'report.json')
say('test: running')
const { code } = await run(process.execPath, [
  join(root, 'node_modules', 'vitest', 'vitest.mjs'),
  'run',
  '--config',
  join(root, '.config', 'vitest.config.ts'),
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...process.argv.slice(2),
])
const counts = countsOf(report)
rmSync(folder, { recursive: true, force: true })
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`)
process.exit(code !== 0 || counts.failed > 0 || counts.passed === 0 ? 1 : 0)

/** A file that could not even be loaded counts as one failure. */
function countsOf(file) {
  let result
  try {
    result = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return { passed: 0, failed: 1, skipped: 0 }
  }
  const broken = result.testResults.filter(
    suite => suite.status === 'failed' && suite.assertionResults.every(test => test.status !== 'failed'),
  ).length
  return {
    passed: result.numPassedTests,
    failed: result.numFailedTests + broken,
    skipped: result.numPendingTests + result.numTodoTests,
  }
}
