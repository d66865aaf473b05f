// Policies of ten rules each that all apply to one workload, or one service, and traffic that hits, misses or is denied.
import { parseSpiffeId } from '@ambient/core'

export const RULES = 10
const ROOT = 'istio-system'
export const options = { rootNamespace: ROOT, trustDomain: 'cluster.local' }

export const target = {
  gateway: { namespace: 'shop', name: 'waypoint', className: 'istio-waypoint' },
  service: { namespace: 'shop', name: 'web', hostname: 'web.shop.svc.cluster.local' },
}

/** As a reader of YAML gives them. Half of the rules name one principal, the others something else. */
export function documents(dialect, action, count, from = 0) {
  return Array.from({ length: count }, (_, index) => document(dialect, action, from + index))
}

export function document(dialect, action, policy) {
  const rules = Array.from({ length: RULES }, (_, rule) =>
    dialect === 'ztunnel' ? l4Rule(policy, rule) : httpRule(policy, rule),
  )
  return {
    kind: 'AuthorizationPolicy',
    metadata: { name: nameOf(policy), namespace: 'shop', labels: {}, annotations: {} },
    spec: {
      action,
      rules,
      ...(dialect === 'ztunnel' ? {} : { targetRefs: [{ group: '', kind: 'Service', name: 'web' }] }),
    },
  }
}

/** The same as text, to measure what YAML costs. */
export function yaml(dialect, action, count) {
  return documents(dialect, action, count)
    .map(({ metadata, spec }) =>
      [
        'apiVersion: security.istio.io/v1',
        'kind: AuthorizationPolicy',
        `metadata: {name: ${metadata.name}, namespace: ${metadata.namespace}}`,
        `spec:`,
        `  action: ${spec.action}`,
        ...(spec.targetRefs === undefined ? [] : [`  targetRefs: ${JSON.stringify(spec.targetRefs)}`]),
        '  rules:',
        ...spec.rules.map(rule => `  - ${JSON.stringify(rule)}`),
      ].join('\n'),
    )
    .join('\n---\n')
}

/** What rule `rule` of policy `policy` lets through, or denies; -1 for what no rule knows. */
export function connection(policy, rule) {
  const known = policy >= 0
  const identity = known ? principalOf(policy, rule) : 'cluster.local/ns/stranger/sa/nobody'
  return {
    id: '0123456789abcdef0123456789abcdef',
    direction: 'inbound',
    source: {
      address: known && rule % 5 === 3 ? blockOf(policy, rule).replace('/32', '') : '192.0.2.1',
      port: 40_000,
      identity: parseSpiffeId(`spiffe://${identity}`),
    },
    destination: { address: '10.0.0.2', port: 8000 + (known ? rule : 0), network: '', workload },
  }
}

export function request(policy, rule) {
  const known = policy >= 0
  return {
    connection: connection(policy, known ? rule : 0),
    method: 'GET',
    path: known ? pathOf(policy, rule) : '/nobody/asked/for/this',
    authority: known ? hostOf(policy, rule) : 'stranger.example',
    header: () => [],
  }
}

const workload = {
  uid: 'c//Pod/shop/web-1',
  name: 'web-1',
  namespace: 'shop',
  addresses: ['10.0.0.2'],
  authorizationPolicies: [],
}

function nameOf(policy) {
  return `policy-${String(policy).padStart(6, '0')}`
}

function principalOf(policy, rule) {
  return `cluster.local/ns/team-${policy % 500}-${rule}/sa/client-${policy}`
}

function blockOf(policy, rule) {
  const at = policy * RULES + rule
  return `10.${(at >> 16) & 255}.${(at >> 8) & 255}.${at & 255}/32`
}

function hostOf(policy, rule) {
  return rule % 5 === 1 ? `api.tenant-${policy}-${rule}.example` : `tenant-${policy}-${rule}.example`
}

function pathOf(policy, rule) {
  return rule % 5 === 2 ? `/tenants/${policy}/${rule}/items/7` : `/tenants/${policy}/${rule}`
}

/** Principals and ports, namespaces, accounts, address blocks. */
function l4Rule(policy, rule) {
  const ports = { to: [{ operation: { ports: [String(8000 + rule)] } }] }
  switch (rule % 5) {
    case 1:
      return {
        from: [{ source: { principals: [principalOf(policy, rule), `${principalOf(policy, rule)}-2`] } }],
      }
    case 2:
      return { from: [{ source: { principals: [`*/sa/client-${policy}`] } }], ...ports }
    case 3:
      return { from: [{ source: { ipBlocks: [blockOf(policy, rule)] } }], ...ports }
    default:
      return { from: [{ source: { principals: [principalOf(policy, rule)] } }], ...ports }
  }
}

/** Principals, hosts (one by its end), paths (one by its beginning), methods. */
function httpRule(policy, rule) {
  const from = [{ source: { principals: [principalOf(policy, rule)] } }]
  switch (rule % 5) {
    case 1:
      return {
        to: [{ operation: { hosts: [`*.tenant-${policy}-${rule}.example`], methods: ['GET', 'HEAD'] } }],
      }
    case 2:
      return { to: [{ operation: { paths: [`/tenants/${policy}/${rule}/*`], methods: ['GET'] } }] }
    case 3:
      return { from, to: [{ operation: { hosts: [hostOf(policy, rule)], paths: [pathOf(policy, rule)] } }] }
    default:
      return { from, to: [{ operation: { methods: ['GET'], paths: [pathOf(policy, rule)] } }] }
  }
}
