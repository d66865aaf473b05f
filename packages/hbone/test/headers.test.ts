/** The headers of a CONNECT, byte for byte as written and as leniently read: tables. */
import {
  type Baggage,
  type BaggageSource,
  createTraceparent,
  formatBaggage,
  formatForwarded,
  headerValue,
  headerValues,
  parseBaggage,
  parseForwardedHost,
  traceIdOf,
} from '@ambient/hbone'
import { describe, expect, it } from 'vitest'

const full: BaggageSource = {
  clusterId: 'Kubernetes',
  namespace: 'shop',
  workloadType: 'deployment',
  workloadName: 'web-v1',
  canonicalName: 'web',
  canonicalRevision: 'v1',
  region: 'eu',
  zone: 'eu-1',
}
const empty: BaggageSource = {
  clusterId: '',
  namespace: '',
  workloadType: 'pod',
  workloadName: '',
  canonicalName: '',
  canonicalRevision: '',
  region: '',
  zone: '',
}

describe('baggage', () => {
  it('is written in ztunnel’s order, absent values left out', () => {
    expect(formatBaggage(full)).toBe(
      'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web-v1,service.name=web,' +
        'service.version=v1,cloud.region=eu,cloud.availability_zone=eu-1',
    )
    expect(formatBaggage({ ...full, workloadType: 'cronjob', region: '' })).toContain(
      'k8s.cronjob.name=web-v1',
    )
    expect(formatBaggage({ ...full, region: '' })).not.toContain('cloud.region')
    expect(formatBaggage(empty)).toBe('')
  })

  const lines: readonly (readonly [string, readonly string[], Baggage])[] = [
    ['nothing', [], {}],
    ['an empty line', [''], {}],
    ['one line', ['k8s.namespace.name=shop,service.name=web'], { namespace: 'shop', canonicalName: 'web' }],
    [
      'several lines',
      ['service.name=web', 'service.version=v2'],
      { canonicalName: 'web', canonicalRevision: 'v2' },
    ],
    ['a job', ['k8s.job.name=clean'], { workloadName: 'clean' }],
    ['a pod', ['k8s.pod.name=p-1'], { workloadName: 'p-1' }],
    ['unknown keys', ['a=b,k8s.node.name=n,service.name=web'], { canonicalName: 'web' }],
    ['an empty value', ['service.name=,service.version=v1'], { canonicalRevision: 'v1' }],
    ['the last of equal keys', ['service.name=a,service.name=b'], { canonicalName: 'b' }],
    [
      'a value taken back',
      ['service.name=a', 'service.name=,service.version=v1'],
      { canonicalRevision: 'v1' },
    ],
    ['a line with a control character, which voids all', ['service.name=web', 'service.version=\x01'], {}],
    ['a value cut at a second =', ['service.name=a=b'], { canonicalName: 'a' }],
    ['no = at all', ['service.name'], {}],
    ['a line that is not ASCII, which voids all', ['service.name=web', 'service.version=é'], {}],
    ['keys of Object.prototype', ['__proto__=x,constructor=y,toString=z'], {}],
  ]
  for (const [name, values, baggage] of lines)
    it(`is read from ${name}`, () => expect(parseBaggage(values)).toEqual(baggage))

  it('is read back as it was written', () => {
    const { workloadType: _, ...rest } = full
    expect(parseBaggage([formatBaggage(full)])).toEqual(rest)
  })
})

describe('forwarded', () => {
  it('quotes the source, and names the host when it is known', () => {
    expect(formatForwarded({ address: '10.0.0.1', port: 43_126 })).toBe('for="10.0.0.1:43126"')
    expect(formatForwarded({ address: '::1', port: 80 })).toBe('for="[::1]:80"')
    expect(formatForwarded({ address: '10.0.0.1', port: 1, host: 'web.shop.svc.cluster.local' })).toBe(
      'for="10.0.0.1:1";host=web.shop.svc.cluster.local',
    )
  })

  const values: readonly (readonly [string | undefined, string | undefined])[] = [
    [undefined, undefined],
    ['', undefined],
    ['for="10.0.0.1:1"', undefined],
    ['for="10.0.0.1:1";host=a.b', 'a.b'],
    ['for="10.0.0.1:1"; host=a.b ', 'a.b'],
    ['host="a.b"', 'a.b'],
    ['host="a.b', 'a.b'],
    ['host=', undefined],
    ['host=""', undefined],
    ['Host=a.b', undefined],
    ['host=a;host=b', 'a'],
    ['host=é', undefined],
    ['host=a\x7f', undefined],
    ['for=1,host=a', undefined],
  ]
  for (const [value, host] of values)
    it(`reads the host of ${JSON.stringify(value)}`, () => expect(parseForwardedHost(value)).toBe(host))
})

describe('traceparent', () => {
  it('is random, unsampled and of 55 characters', () => {
    const one = createTraceparent()
    expect(one).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    expect(createTraceparent()).not.toBe(one)
    expect(traceIdOf(one)).toBe(one.slice(3, 35))
  })

  it('is read only when it is well-formed', () => {
    const good = `00-${'A'.repeat(32)}-${'b'.repeat(16)}-01`
    expect(traceIdOf(good)).toBe('a'.repeat(32))
    for (const bad of [
      undefined,
      '',
      good.slice(1),
      `${good}0`,
      good.replace('A', 'g'),
      good.replaceAll('-', '_'),
    ])
      expect(traceIdOf(bad)).toBeUndefined()
  })
})

describe('repeated headers', () => {
  it('are seen one by one and joined', () => {
    const list = [
      ['a', '1'],
      ['b', 'x'],
      ['a', '2'],
    ] as const
    expect(headerValues(list, 'a')).toEqual(['1', '2'])
    expect(headerValue(list, 'a')).toBe('1,2')
    expect(headerValue(list, 'c')).toBeUndefined()
  })
})
