/** The reference of an HTTPRoute to where requests go, or copies of them. */
import type { YamlObject } from '@ambient/policy'
import { checkBackend } from './check-routes.ts'
import type { ReadScope } from './context.ts'
import type { BackendRef } from './http-route-types.ts'
import { PORT_RANGE, shown } from './read-values.ts'

/** The reference of a backend or a mirror. */
export function readBackend(object: YamlObject, scope: ReadScope): BackendRef | undefined {
  const name = object.required('name')?.text()
  const written = object.get('group')?.string() ?? ''
  const group = written === 'core' ? '' : written
  const kindName = object.get('kind')?.text() ?? 'Service'
  const namespace = object.get('namespace')?.text() ?? scope.namespace
  const port = object.required('port')?.integer(PORT_RANGE)
  const kind = backendKind(group, kindName)
  if (kind === undefined)
    object.reader.problem(
      `expected a Service (group "") or a Hostname (networking.istio.io), found ${shown(`${group}/${kindName}`)}`,
    )
  if (kind === undefined || name === undefined || port === undefined) return undefined
  const backend = { source: object.reader.position, group, kind, name, namespace, port }
  checkBackend(object, backend, scope.context)
  return backend
}

function backendKind(group: string, kind: string): BackendRef['kind'] | undefined {
  if (group === '' && kind === 'Service') return 'Service'
  return group === 'networking.istio.io' && kind === 'Hostname' ? 'Hostname' : undefined
}
