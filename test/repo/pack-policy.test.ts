/**
 * The packed `@ambient/policy`, installed in an empty project without its frameworks: a policy judged and explained in ten
 * lines, as ESM, as CommonJS and as TypeScript; its keys over HTTPS, its schemas. Says how much that is.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installedIn, installPacked, kibOf, type PackedProject } from './packed-project.ts'

const TIME_LIMIT_MS = 180_000

let project: PackedProject

beforeAll(async () => {
  project = await installPacked(['core', 'policy'], { timeoutMs: TIME_LIMIT_MS })
}, TIME_LIMIT_MS)

afterAll(() => project?.remove())

describe('@ambient/policy, packed and installed alone', () => {
  it('brings core, jose and yaml, and no framework', context => {
    context.skip(project.offline !== '', project.offline)
    const { modules } = project
    console.log(
      `@ambient/policy: ${kibOf(join(modules, '@ambient', 'policy'))} KiB unpacked, ` +
        `${kibOf(modules)} KiB with its ${installedIn(modules).length - 1} dependencies`,
    )
    expect(installedIn(modules)).toEqual(
      expect.arrayContaining(['@ambient/core', '@ambient/policy', 'jose', 'yaml']),
    )
    for (const framework of ['express', 'fastify', 'hono', 'vitest'])
      expect(installedIn(modules)).not.toContain(framework)
  })

  it.for([
    ['ESM', 'main.mjs', `${IMPORTS}\n${PROGRAM}\n`],
    ['CommonJS', 'main.cjs', `${asRequire(IMPORTS)}\n${PROGRAM}\n`],
  ] as const)('says who was denied and why, as %s', async ([, file, program], context) => {
    context.skip(project.offline !== '', project.offline)
    project.write(file, program)
    expect(await project.run(file)).toEqual({ code: 0, output: OUTPUT })
  })

  it('says it as TypeScript, for both module systems', async context => {
    context.skip(project.offline !== '', project.offline)
    for (const file of ['typed.mts', 'typed.cts']) project.write(file, `${IMPORTS}\n${PROGRAM}\n`)
    await project.compile(['typed.mts', 'typed.cts'])
    expect(await project.run('typed.mjs')).toEqual({ code: 0, output: OUTPUT })
    expect(await project.run('typed.cjs')).toEqual({ code: 0, output: OUTPUT })
  })

  it('gives its schemas to editors', async context => {
    context.skip(project.offline !== '', project.offline)
    project.write(
      'schema.cjs',
      `console.log(require('@ambient/policy/schemas/authorization-policy.json').$schema !== undefined)`,
    )
    expect(await project.run('schema.cjs')).toEqual({ code: 0, output: 'true\n' })
  })
})

const OUTPUT = `deny none allow policies exist, but none allowed: shop/readers
allow shop/readers allowed by: shop/readers rules[0]
`

const IMPORTS = `import { createEvaluator, parsePolicies } from '@ambient/policy'
import { createJwksFetcher } from '@ambient/policy/node'`

const PROGRAM = `const policies = parsePolicies(\`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: readers, namespace: shop }
spec: { rules: [{ from: [{ source: { namespaces: [ui] } }] }] }
\`, 'readers.yaml')
const evaluator = createEvaluator(policies, { dialect: 'ztunnel' })
const destination = { namespace: 'shop', workload: 'web', port: 80 }
for (const namespace of ['batch', 'ui']) {
  const source = { principal: \`cluster.local/ns/\${namespace}/sa/app\` }
  const { verdict, policy, reason } = evaluator.decide({ source, destination })
  console.log(verdict, policy ?? 'none', reason)
}
if (typeof createJwksFetcher !== 'function') throw new Error('no fetcher')`

function asRequire(imports: string): string {
  return imports.replace(/import (.+) from ('.+')/g, 'const $1 = require($2)')
}
