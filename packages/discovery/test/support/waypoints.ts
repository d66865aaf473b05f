/** A shop with a waypoint in front of everything, as manifests. */
import { ACCOUNT, DEPLOYMENT } from './manifests.ts'

export const WAYPOINT = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners:
    - { name: mesh, port: 15008, protocol: HBONE }
`

const NAMESPACE = `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    istio.io/dataplane-mode: ambient
    istio.io/use-waypoint: waypoint
`

const SERVICES = `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: http }]
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop }
spec:
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: http }, { name: tcp-db, port: 5432, targetPort: http }]
`

export const SHOP = [NAMESPACE, ACCOUNT, SERVICES, DEPLOYMENT, WAYPOINT].join('---\n')

export function virtualService(spec: string, version = 'v1'): string {
  return `apiVersion: networking.istio.io/${version}
kind: VirtualService
metadata: { name: web, namespace: shop }
spec:
${spec}`
}
