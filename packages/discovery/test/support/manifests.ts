/** A small mesh as manifests, and what is wrong with others. */
import { expect } from 'vitest'
import { formatProblem } from '@ambient/policy'
import { readManifests } from '../../src/index.ts'

export const NAMESPACE = `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    istio.io/dataplane-mode: ambient
`

export const ACCOUNT = `apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
`

export const SERVICE = `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  selector: { app: web }
  ports:
    - { name: http, port: 80, targetPort: http }
`

export const DEPLOYMENT = `apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      serviceAccountName: web
      containers:
        - name: web
          image: example/web:1
          command: [node, web.mjs]
          args: [--port, "8080"]
          ports: [{ name: http, containerPort: 8080 }]
`

export const GOOD = [NAMESPACE, ACCOUNT, SERVICE, DEPLOYMENT].join('---\n')

/** One line per problem; the texts are a.yaml and b.yaml. */
export function problemsOf(...texts: string[]): string[] {
  const files = texts.map((text, index) => ({ path: `${'ab'[index]}.yaml`, text }))
  return readManifests(files).problems.map(formatProblem)
}

/** The good manifests with one line changed. */
export function changed(from: string | RegExp, to: string): string {
  const text = GOOD.replace(from, to)
  expect(text).not.toBe(GOOD)
  return text
}
