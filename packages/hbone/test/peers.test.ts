/** Who calls, behind a waypoint: only a trusted waypoint's word counts, and only in one form. */
import { parseSpiffeId } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { formatForwardedClientCert, peersOf } from '../src/index.ts'

const waypoint = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/waypoint')
const client = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client')
const admin = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/admin')
const said = formatForwardedClientCert({ by: waypoint, uri: client })

const ask = (immediate: typeof client, forwardedClientCert: string | undefined) =>
  peersOf({ immediate, forwardedClientCert, waypoints: [waypoint] })

describe('peersOf', () => {
  it('believes a trusted waypoint', () => {
    expect(said).toBe(
      'By=spiffe://cluster.local/ns/shop/sa/waypoint;URI=spiffe://cluster.local/ns/shop/sa/client',
    )
    expect(ask(waypoint, said)).toEqual({ immediate: waypoint, original: client })
  })

  it('ignores what a caller says of itself: it is who it proved to be', () => {
    const forged = formatForwardedClientCert({ by: waypoint, uri: admin })
    expect(ask(client, forged)).toEqual({ immediate: client, original: client })
    expect(ask(client, undefined)).toEqual({ immediate: client, original: client })
  })

  it.each([
    ['nothing', undefined],
    ['an empty value', ''],
    ['two elements', `${formatForwardedClientCert({ by: waypoint, uri: admin })},${said}`],
    ['two URIs', `${said};URI=${admin.uri}`],
    ['a quoted one', `By="${waypoint.uri}";URI="${client.uri}"`],
    ['the word of somebody else', formatForwardedClientCert({ by: client, uri: admin })],
    ['an identity that is none', `By=${waypoint.uri};URI=spiffe://cluster.local/../admin`],
    ['no URI', `By=${waypoint.uri}`],
  ])('does not know the caller behind a waypoint that says %s', (_, header) => {
    expect(ask(waypoint, header)).toEqual({ immediate: waypoint, original: undefined })
  })
})
