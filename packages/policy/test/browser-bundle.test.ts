/** The package's main entry, bundled for a browser without polyfills, decides, explains and lints on a page. */
import chromium from '@sparticuz/chromium'
import { build, type BuildResult } from 'esbuild'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium as launcher } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as policy from '@ambient/policy'

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))

const YAML = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  rules:
  - from: [{source: {principals: [cluster.local/ns/client/sa/alice]}}]
    to: [{operation: {methods: [GET], paths: ["/items/*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: never, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  action: DENY
  rules:
  - from: [{source: {principals: ["spiffe://cluster.local/ns/client/sa/bob"]}}]
`

/** What is asked on the page, and here: a function of its own, since it travels as text. */
function ask({ api, yaml }: { readonly api: typeof policy; readonly yaml: string }): unknown {
  const documents = api.parsePolicies(yaml, 'page.yaml')
  const evaluator = api.createEvaluator(documents, { dialect: 'envoy-http' })
  const request = (method: string): policy.PolicyRequest => ({
    source: { principal: 'cluster.local/ns/client/sa/alice', ip: '10.0.0.1' },
    destination: { namespace: 'shop', service: 'shop/web', port: 80 },
    http: { method, authority: 'web', path: '/items/7', headers: {} },
  })
  const translated = documents.authorizationPolicies.map(one =>
    api.toAuthorization(one, { rootNamespace: 'istio-system' }),
  )
  return {
    verdicts: ['GET', 'POST'].map(method => evaluator.decide(request(method))),
    explained: ['GET', 'POST'].map(method =>
      api.formatVerdict(request(method), evaluator.decide(request(method))),
    ),
    lint: api.lintPolicies(documents).map(({ id }) => id),
    translated: translated.map(({ kind }) => kind),
  }
}

async function bundle(): Promise<BuildResult<{ write: false }>> {
  return build({
    entryPoints: [path('../src/index.ts')],
    alias: { '@ambient/core': path('../../core/src/index.ts') },
    bundle: true,
    platform: 'browser',
    format: 'iife',
    globalName: 'policy',
    target: 'chrome120',
    write: false,
    logLevel: 'silent',
  })
}

/** Chromium comes in an npm package for Linux on x64; elsewhere, or without its libraries, there is none. */
async function launch(): Promise<Browser | string> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `there is no Chromium for ${process.platform} on ${process.arch}`
  try {
    const executablePath = await chromium.executablePath()
    return await launcher.launch({ executablePath, args: chromium.args, headless: true })
  } catch (error) {
    return `Chromium does not start: ${String(error).split('\n')[0]}`
  }
}

const browser = await launch()
const problem = typeof browser === 'string' ? browser : undefined

describe('the package in a browser', () => {
  let code = ''
  beforeAll(async () => {
    const { outputFiles, warnings } = await bundle()
    expect(warnings).toEqual([])
    code = outputFiles[0]?.text ?? ''
  })
  afterAll(async () => {
    if (typeof browser !== 'string') await browser.close()
  })

  it('is bundled without a polyfill or a module of Node', () => {
    expect(code).toContain('AuthorizationPolicy')
    expect(code.match(/require\("(node:)?[a-z_/]+"\)/g) ?? []).toEqual([])
  })

  it.skipIf(problem !== undefined)(
    problem === undefined ? 'decides, explains and lints on a page as it does here' : `not run: ${problem}`,
    async () => {
      if (typeof browser === 'string') return
      const page = await browser.newPage()
      const errors: string[] = []
      page.on('pageerror', error => errors.push(error.message))
      await page.setContent(`<!doctype html><script>${code.replaceAll('</script', '<\\/script')}</script>`)
      const onPage = await page.evaluate(
        `(${ask.toString()})({ api: policy, yaml: ${JSON.stringify(YAML)} })`,
      )
      const here = ask({ api: policy, yaml: YAML })
      expect(errors).toEqual([])
      expect(onPage).toEqual(JSON.parse(JSON.stringify(here)))
      expect(here).toMatchObject({ verdicts: [{ verdict: 'allow' }, { verdict: 'deny' }] })
      expect((here as { readonly lint: readonly string[] }).lint.length).toBeGreaterThan(0)
      await page.close()
    },
    60_000,
  )
})
