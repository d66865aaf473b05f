import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { removeObject, setStrings } from '../src/manifests/edit.ts'
import { readFolder, saveFolder, withFile } from '../src/manifests/folder.ts'
import { run } from './host.ts'

const labels = ['metadata', 'labels']
const place = { path: 'a.yaml', document: 0 }

function label(text: string, key: string, value: string | undefined, at = place): string {
  return setStrings(text, at, [{ path: labels, key, value }])
}

const NAMESPACE = `# Of the team.

apiVersion: v1   # core
kind: Namespace
metadata:
    name: shop     # our name
    labels:
        # why we are in
        istio.io/dataplane-mode:   ambient    # since May

        team: 'blue'
# the end
`

describe('labels in YAML', () => {
  test('setting one changes its value and nothing else', () => {
    expect(label(NAMESPACE, 'istio.io/dataplane-mode', 'none')).toBe(
      NAMESPACE.replace('ambient    #', 'none    #'),
    )
  })

  test('a new one is a line behind the last, indented as they are', () => {
    expect(label(NAMESPACE, 'x', 'true')).toBe(
      NAMESPACE.replace("        team: 'blue'\n", '        team: \'blue\'\n        x: "true"\n'),
    )
  })

  test('removing one removes its line; comments stay', () => {
    expect(label(NAMESPACE, 'team', undefined)).toBe(NAMESPACE.replace("        team: 'blue'\n", ''))
    expect(label(NAMESPACE, 'istio.io/dataplane-mode', undefined)).toBe(
      NAMESPACE.replace('istio.io/dataplane-mode:   ambient    # since May', '# since May'),
    )
    expect(label(NAMESPACE, 'nothing', undefined)).toBe(NAMESPACE)
  })

  test('the last one takes `labels` with it, the first one brings it', () => {
    const bare = 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop # us\n'
    const labelled = `${bare}  labels:\n    a: b\n`
    expect(label(bare, 'a', 'b')).toBe(labelled)
    expect(label(labelled, 'a', undefined)).toBe(bare)
    expect(label(labelled.trimEnd(), 'a', undefined)).toBe(bare.trimEnd())
  })

  test.each([
    [
      'kind: Namespace\nmetadata: { name: shop }\n',
      'kind: Namespace\nmetadata: { name: shop, labels: { a: b } }\n',
    ],
    [
      'kind: Namespace\nmetadata: { name: shop, labels: {c: d} }\n',
      'kind: Namespace\nmetadata: { name: shop, labels: {c: d, a: b} }\n',
    ],
    [
      'kind: N\nmetadata:\n  labels: {c: d}\n  name: x',
      'kind: N\nmetadata:\n  labels: {c: d, a: b}\n  name: x',
    ],
  ])('flow style stays flow style: %j', (before, after) => {
    expect(label(before, 'a', 'b')).toBe(after)
    expect(label(after, 'a', undefined)).toBe(before)
  })

  test.each([
    'metadata:\n  name: x\n  labels: {} # none\n# end\n',
    'metadata:\n  name: x\n  labels: # none\n# end\n',
    'metadata:\n  name: x\n  labels: null # none\n# end\n',
    '# none\n# end\nmetadata: {}\n',
    '# none\n# end\nkind: x\n',
    'metadata:\n  labels:\n    a: &x >-\n      folded # none\n    c: d # none\n# end\n',
  ])('what is written in a rare way is set too, and keeps its comments: %j', before => {
    const after = label(before, 'a', 'b')
    expect(parse(after)).toMatchObject({ metadata: { labels: { a: 'b' } } })
    for (const comment of ['# none', '# end']) expect(after).toContain(comment)
    expect(parse(label(after, 'a', undefined))?.metadata?.labels?.a).toBeUndefined()
    for (const comment of ['# none', '# end']) expect(label(after, 'a', undefined)).toContain(comment)
  })

  test('Windows line ends and a missing last one stay', () => {
    const before = 'kind: Namespace\r\nmetadata:\r\n  name: shop # us\r\n  labels:\r\n    c: d # e'
    expect(label(before, 'a', 'b')).toBe(`${before}\r\n    a: b`)
    expect(label(before, 'c', undefined)).toBe(before.replace('  labels:\r\n    c: d # e', '    # e'))
  })

  test('only the document that is meant, also in a List', () => {
    const many = `# one\nkind: A\nmetadata:\n  name: x\n---\n# two\nkind: List\nitems:\n- kind: B\n  metadata:\n    name: y # y\n- kind: C\n`
    const at = { path: 'a.yaml', document: 1, item: 0 }
    expect(label(many, 'a', 'b', at)).toBe(many.replace('# y\n', '# y\n    labels:\n      a: b\n'))
  })

  test('JSON stays JSON, with its indent', () => {
    const before = `${JSON.stringify({ kind: 'Namespace', metadata: { name: 'x' } }, undefined, 4)}\n`
    expect(label(before, 'a', 'b', { path: 'a.json', document: 0 })).toBe(
      `${JSON.stringify({ kind: 'Namespace', metadata: { name: 'x', labels: { a: 'b' } } }, undefined, 4)}\n`,
    )
  })

  test('values that YAML would take for something else are quoted', () => {
    for (const value of ['true', '1', '0x1', 'null', '1.0', '', '2001-01-01', 'yes', '1_000', '~'])
      expect(parse(label('metadata:\n  labels: { c: d }\n', 'a', value)).metadata.labels.a).toBe(value)
  })
})

describe('objects in YAML', () => {
  const many = '# the file\n\n# a\nkind: A\n---\n# b\nkind: B # b\n---\n# c\nkind: C\n'
  test('one goes, the others stay as they are', () => {
    expect(removeObject(many, { path: 'x', document: 1 })).toBe(
      '# the file\n\n# a\nkind: A\n---\n# c\nkind: C\n',
    )
    expect(removeObject(many, { path: 'x', document: 2 })).toBe(
      '# the file\n\n# a\nkind: A\n---\n# b\nkind: B # b\n',
    )
    expect(removeObject(many, { path: 'x', document: 0 })).toBe(
      '# the file\n---\n# b\nkind: B # b\n---\n# c\nkind: C\n',
    )
  })

  test('the last one takes the file with it', () => {
    expect(removeObject('---\nkind: A\n---\n', { path: 'x', document: 0 })).toBeUndefined()
  })
})

describe('a folder', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ambient-test-'))
    await writeFile(join(folder, 'ns.yaml'), NAMESPACE)
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))
  const read = (file: string): Promise<string> => readFile(join(folder, file), 'utf8')
  const labelNs = (...args: string[]): ReturnType<typeof run> => run('label', 'ns', ...args, '--mesh', folder)

  test('what an edit makes odd is said, once', async () => {
    const { code, err } = await labelNs('shop', 'istio.io/dataplane-mode=ambiant', '--overwrite')
    expect(code).toBe(0)
    expect(err).toMatch(/ns\.yaml written; .*\n.*ns\.yaml:9:\d+: warning: .*ambiant.*\n$/)
    expect((await labelNs('shop', 'a=b')).err).not.toContain('ambiant')
  })

  test('label says what kubectl says', async () => {
    expect(await labelNs('shop', 'a=b')).toEqual({
      code: 0,
      out: 'namespace/shop labeled\n',
      err: `${join(folder, 'ns.yaml')} written; no mesh runs from this folder\n`,
    })
    expect(await read('ns.yaml')).toContain('        a: b\n')
    expect(await labelNs('shop', 'a=b')).toEqual({ code: 0, out: 'namespace/shop not labeled\n', err: '' })
    const taken = await labelNs('shop', 'a=c', 'd=e')
    expect(taken.err).toMatch(/^error: 'a' already has a value \(b\), and --overwrite is false \[/)
    expect(taken.code).toBe(1)
    expect(await read('ns.yaml')).not.toContain('d: e')
    expect((await labelNs('shop', 'a=c', '--overwrite')).out).toBe('namespace/shop labeled\n')
    expect(await labelNs('shop', 'a-', 'zz-')).toMatchObject({
      out: 'namespace/shop unlabeled\n',
      err: expect.stringMatching(/^label "zz" not found.\n/),
    })
    expect(await read('ns.yaml')).toBe(NAMESPACE)
  })

  test('label makes the Namespace that is not there, but no Service', async () => {
    const made = await labelNs('new', 'istio.io/dataplane-mode=ambient', '-o', 'json')
    expect(JSON.parse(made.out)).toEqual({
      objects: [
        {
          kind: 'Namespace',
          name: 'new',
          change: 'labeled',
          labels: { 'istio.io/dataplane-mode': 'ambient' },
          missing: [],
        },
      ],
      files: [{ path: 'namespace-new.yaml', change: 'written' }],
    })
    expect(parse(await read('namespace-new.yaml'))).toEqual({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'new', labels: { 'istio.io/dataplane-mode': 'ambient' } },
    })
    const service = await run('label', 'svc', 'web', 'a=b', '-n', 'shop', '--mesh', folder)
    expect(service).toMatchObject({ code: 1, out: '' })
    expect(service.err).toContain('there is no Service web in namespace shop')
  })

  test('a file with YAML errors is not touched, and the error says where', async () => {
    const broken = 'kind: Namespace\nmetadata: {name: other\n'
    await writeFile(join(folder, 'bad.yaml'), broken)
    const { code, err } = await labelNs('other', 'a=b')
    expect(code).toBe(1)
    expect(err).toMatch(new RegExp(`^${join(folder, 'bad.yaml')}:\\d+:\\d+: error: `, 'm'))
    expect(await read('bad.yaml')).toBe(broken)
    expect(await readdir(folder)).toEqual(['bad.yaml', 'ns.yaml'])
    // What is elsewhere can be edited all the same.
    expect((await labelNs('shop', 'a=b')).out).toBe('namespace/shop labeled\n')
  })

  test('an edit that would break the folder is not written', async () => {
    const { code, err } = await run('waypoint', 'apply', '-n', 'nowhere', '--mesh', folder)
    expect(code).toBe(1)
    expect(err).toContain('nothing was written')
    expect(err).toContain(`${join(folder, 'waypoint-nowhere-waypoint.yaml')}:`)
    expect(await readdir(folder)).toEqual(['ns.yaml'])
  })

  test('files keep their mode, links stay links, somebody else is not overwritten', async () => {
    await writeFile(join(folder, 'target.txt'), NAMESPACE.replace('name: shop', 'name: linked'))
    await symlink('target.txt', join(folder, 'link.yaml'))
    await chmod(join(folder, 'ns.yaml'), 0o640)
    await labelNs('shop', 'a=b')
    await labelNs('linked', 'a=b')
    expect((await stat(join(folder, 'ns.yaml'))).mode & 0o777).toBe(0o640)
    expect(await read('target.txt')).toContain('a: b')
    const before = await readFolder(folder)
    await writeFile(join(folder, 'ns.yaml'), '# mine\n')
    await expect(saveFolder(before, withFile(before, 'ns.yaml', '# yours\n'))).rejects.toThrow(
      'changed by somebody',
    )
    expect(await read('ns.yaml')).toBe('# mine\n')
    expect((await readdir(folder)).sort()).toEqual(['link.yaml', 'ns.yaml', 'target.txt'])
  })

  test('a waypoint is applied, listed and deleted', async () => {
    const waypoint = (...args: string[]): ReturnType<typeof run> => run('waypoint', ...args, '--mesh', folder)
    const applied = await waypoint('apply', '-n', 'shop', '--enroll-namespace')
    expect(applied.out).toBe(
      '✅ waypoint shop/waypoint applied\n✅ namespace shop labeled with "istio.io/use-waypoint: waypoint"\n',
    )
    expect(applied.code).toBe(0)
    const generated = await run('waypoint', 'generate', '-n', 'shop')
    expect(await read('waypoint-shop-waypoint.yaml')).toBe(generated.out)
    expect(parse(generated.out)).toEqual({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { labels: { 'istio.io/waypoint-for': 'service' }, name: 'waypoint', namespace: 'shop' },
      spec: {
        gatewayClassName: 'istio-waypoint',
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
      },
    })
    expect((await waypoint('list', '-n', 'shop')).out).toBe(
      'NAME      REVISION  TRAFFIC TYPE  PROGRAMMED\nwaypoint  default   service       Unknown\n',
    )
    expect((await waypoint('list', '-A')).out).toMatch(
      /^NAMESPACE +NAME +REVISION +TRAFFIC TYPE +PROGRAMMED\nshop /,
    )
    const other = await waypoint('apply', '-n', 'shop', '--name', 'other', '--enroll-namespace')
    expect(other).toMatchObject({ code: 0, out: '' })
    expect(other.err).toContain('⚠️ Warning: namespace shop already uses the waypoint waypoint')
    const used = await waypoint('delete', 'waypoint', '-n', 'shop')
    expect(used).toMatchObject({ code: 1, out: '' })
    expect(used.err).toMatch(
      /shop\/waypoint is still in use; first: ambient label ns shop istio.io\/use-waypoint- \[/,
    )
    await labelNs('shop', 'istio.io/use-waypoint-')
    const deleted = await waypoint('delete', 'waypoint', '-n', 'shop')
    expect(deleted).toMatchObject({ code: 0, out: 'waypoint shop/waypoint deleted\n' })
    expect(await readdir(folder)).toEqual(['ns.yaml'])
    expect((await waypoint('list')).err).toBe('No waypoints found in namespace default.\n')
    expect((await waypoint('delete', 'waypoint', '-n', 'shop')).code).toBe(1)
  })

  test("the older istioctl's --service-account", async () => {
    const { out, err } = await run('waypoint', 'generate', '--service-account', 'bookinfo-productpage')
    expect(err).toMatch(/^note: --service-account is of an older Istio/)
    expect(parseAllDocuments(out).map(document => document.toJS())).toMatchObject([
      {
        metadata: {
          name: 'bookinfo-productpage',
          annotations: { 'istio.io/for-service-account': 'bookinfo-productpage' },
        },
      },
    ])
  })

  test('applying again changes what was asked, keeps the rest of the file', async () => {
    const mine = `# mine
kind: Gateway
apiVersion: gateway.networking.k8s.io/v1
metadata:
  name: waypoint # the name
  namespace: shop
  labels: { istio.io/waypoint-for: all }
spec:
  gatewayClassName: istio-waypoint
  listeners:
    - { name: mesh, port: 15008, protocol: HBONE } # as is
`
    await writeFile(join(folder, 'w.yaml'), mine)
    await run('waypoint', 'apply', '-n', 'shop', '--mesh', folder)
    expect(await read('w.yaml')).toBe(mine)
    await run('waypoint', 'apply', '-n', 'shop', '--for', 'workload', '--mesh', folder)
    expect(await read('w.yaml')).toBe(mine.replace('for: all', 'for: workload'))
  })
})
