/** JSON as readonly data: what a document says, in the form in which it travels. */
import type { YamlReader } from '@ambient/policy'

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject
export type JsonObject = { readonly [key: string]: JsonValue }

/** What was written at a place, as plain data; empty when it is no map. */
export function writtenAt(reader: YamlReader | undefined): JsonObject {
  const value = toJsonValue(reader?.toJson())
  return isJsonObject(value) ? value : {}
}

/** Plain data of unknown origin to JSON; what JSON does not know becomes null, absent fields stay absent. */
export function toJsonValue(value: unknown): JsonValue {
  if (Array.isArray(value)) return value.map(toJsonValue)
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(
      Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : [[key, toJsonValue(item)]])),
    )
  if (typeof value === 'string' || typeof value === 'boolean') return value
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !isJsonList(value)
}

function isJsonList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value)
}
