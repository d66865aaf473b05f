// What a proxy without an index does: every rule of every policy in turn, over the same documents. Only the fields of the
// corpus. Nothing is parsed anew per decision.
import { cidrContains, ipToBytes, parseCidr } from '@ambient/core'

/** @returns the first policy with a matching rule. */
export function createScan(documents) {
  const policies = documents.map(({ metadata, spec }) => ({
    key: `${metadata.namespace}/${metadata.name}`,
    rules: spec.rules.map(({ from, to }) => ({
      from: from?.map(({ source }) => ({
        principals: source.principals?.map(matcher),
        blocks: source.ipBlocks?.map(parseCidr),
      })),
      to: to?.map(({ operation }) => ({
        ports: operation.ports?.map(Number),
        hosts: operation.hosts?.map(matcher),
        methods: operation.methods?.map(matcher),
        paths: operation.paths?.map(matcher),
      })),
    })),
  }))
  return {
    connection: ({ source, destination }) =>
      find(policies, {
        principal: source.identity.uri.slice('spiffe://'.length),
        address: ipToBytes(source.address),
        port: destination.port,
      }),
    request: ({ connection, method, path, authority }) =>
      find(policies, {
        principal: connection.source.identity.uri.slice('spiffe://'.length),
        address: undefined,
        port: connection.destination.port,
        method,
        path,
        host: authority.toLowerCase(),
      }),
  }
}

function find(policies, facts) {
  for (const policy of policies) for (const rule of policy.rules) if (matches(rule, facts)) return policy.key
  return undefined
}

function matches({ from, to }, facts) {
  return (
    (from === undefined || from.some(source => fromMatches(source, facts))) &&
    (to === undefined || to.some(operation => toMatches(operation, facts)))
  )
}

function fromMatches({ principals, blocks }, { principal, address }) {
  return (
    (principals === undefined || principals.some(one => one(principal))) &&
    (blocks === undefined || blocks.some(block => cidrContains(block, address)))
  )
}

function toMatches({ ports, hosts, methods, paths }, { port, host, method, path }) {
  return (
    (ports === undefined || ports.includes(port)) &&
    (methods === undefined || methods.some(one => one(method))) &&
    (hosts === undefined || hosts.some(one => one(host))) &&
    (paths === undefined || paths.some(one => one(path)))
  )
}

function matcher(value) {
  if (value.startsWith('*')) return text => text.endsWith(value.slice(1))
  if (value.endsWith('*')) return text => text.startsWith(value.slice(0, -1))
  return text => text === value
}
