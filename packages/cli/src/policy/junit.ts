/** Results as JUnit's XML, in the form that Jenkins, GitLab and GitHub's actions read. */

export interface JunitSuite {
  readonly name: string
  readonly file: string
  readonly cases: readonly JunitCase[]
}

export interface JunitCase {
  readonly name: string
  readonly line: number
  /** Its first line is the summary; absent when it passed. */
  readonly failure?: string
}

export function junitXml(name: string, suites: readonly JunitSuite[]): string {
  const all = suites.flatMap(({ cases }) => cases)
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    element('testsuites', { name, ...countsOf(all) }, suites.map(suiteXml).join('')),
    '',
  ].join('\n')
}

function suiteXml({ name, file, cases }: JunitSuite): string {
  const inside = cases.map(test => caseXml(test, name, file)).join('')
  return `\n  ${element('testsuite', { name, file, ...countsOf(cases) }, inside, '  ')}`
}

function caseXml({ name, line, failure }: JunitCase, suite: string, file: string): string {
  const attributes = { classname: suite, name, file, line, time: 0 }
  if (failure === undefined) return `\n    ${element('testcase', attributes, '')}`
  const message = failure.split('\n', 1)[0] ?? ''
  const inside = `\n      ${element('failure', { message, type: 'PolicyTestFailure' }, escapeXml(failure), '')}`
  return `\n    ${element('testcase', attributes, inside, '    ')}`
}

function countsOf(cases: readonly JunitCase[]): Readonly<Record<string, number>> {
  const failures = cases.filter(({ failure }) => failure !== undefined).length
  return { tests: cases.length, failures, errors: 0, skipped: 0, time: 0 }
}

/** `indent` is before the end tag, on a line of its own when the element holds elements. */
function element(
  name: string,
  attributes: Readonly<Record<string, string | number>>,
  inside: string,
  indent = '',
): string {
  const list = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeXml(String(value))}"`)
  const start = `<${name}${list.join('')}`
  if (inside === '') return `${start}/>`
  return inside.startsWith('\n') ? `${start}>${inside}\n${indent}</${name}>` : `${start}>${inside}</${name}>`
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
}

/** What XML 1.0 has no way to write, not even escaped, becomes U+FFFD. */
function escapeXml(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"']/g, char => ENTITIES[char] ?? char)
}
