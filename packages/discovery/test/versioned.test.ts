import { create } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { ResourceSchema } from '../src/gen/discovery_pb.js'
import { limits } from '../src/limits.ts'
import { difference, type VersionedResource } from '../src/xds/versioned.ts'

const resource = (name: string, version: string, bytes = 1): VersionedResource => ({
  name,
  version,
  bytes,
  resource: create(ResourceSchema, { name, version }),
})

const set = (...resources: VersionedResource[]) => new Map(resources.map(item => [item.name, item]))
const names = (found: readonly VersionedResource[]) => found.map(({ name }) => name)

describe('what a client lacks', () => {
  it('is what is new, what changed and what is gone', () => {
    const sent = new Map([
      ['same', '1'],
      ['changed', '1'],
      ['gone', '1'],
    ])
    const found = difference(sent, set(resource('same', '1'), resource('changed', '2'), resource('new', '1')))
    expect([names(found.changed), found.removed, found.partial]).toEqual([
      ['changed', 'new'],
      ['gone'],
      false,
    ])
  })

  it('comes in several responses when it is large, one resource at least', () => {
    const half = limits.maxPushBytes / 2
    const all = set(
      resource('a', '1', half),
      resource('b', '1', half),
      resource('c', '1', limits.maxPushBytes * 2),
    )
    const first = difference(new Map(), all)
    expect([names(first.changed), first.partial]).toEqual([['a', 'b'], true])
    const second = difference(new Map(first.changed.map(({ name, version }) => [name, version])), all)
    expect([names(second.changed), second.partial]).toEqual([['c'], false])
  })
})
