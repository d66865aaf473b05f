/** Topics are the platform's diagnostics channels, and still work where there is no platform. */
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createTopic, noMeter, type PolicyDecisionMessage, topics } from '@ambient/core'
import { afterEach, describe, expect, it, vi } from 'vitest'

const decision = (reason: string): PolicyDecisionMessage => ({
  connection: {
    id: '0'.repeat(32),
    direction: 'inbound',
    source: { address: '127.0.0.1', port: 1 },
    destination: { address: '127.0.0.2', port: 2, network: '' },
  },
  allowed: false,
  reason,
})

describe('topics on Node', () => {
  it('have the names that the documentation gives', () => {
    expect(topics.connection.name).toBe('ambient:connection')
    expect(topics.decision.name).toBe('ambient:policy:decision')
  })

  it('reach a subscriber of node:diagnostics_channel', () => {
    const seen: unknown[] = []
    const listener = (message: unknown): void => void seen.push(message)
    subscribe('ambient:policy:decision', listener)
    try {
      expect(topics.decision.hasSubscribers).toBe(true)
      topics.decision.publish(decision('no rule'))
    } finally {
      unsubscribe('ambient:policy:decision', listener)
    }
    expect(seen).toEqual([decision('no rule')])
    expect(topics.decision.hasSubscribers).toBe(false)
  })

  it('hear what others publish on that channel', () => {
    const seen: string[] = []
    const stop = topics.decision.subscribe(message => seen.push(message.reason))
    channel('ambient:policy:decision').publish(decision('from outside'))
    stop()
    channel('ambient:policy:decision').publish(decision('too late'))
    stop()
    expect(seen).toEqual(['from outside'])
  })

  it('one name is one topic, whoever made it', () => {
    const seen: number[] = []
    const stop = createTopic<number>('ambient:test:shared').subscribe(value => seen.push(value))
    createTopic<number>('ambient:test:shared').publish(7)
    stop()
    expect(seen).toEqual([7])
  })
})

describe('topics without a platform', () => {
  afterEach(() => vi.unstubAllGlobals())

  const bareTopic = <T>(name: string): ReturnType<typeof createTopic<T>> => {
    vi.stubGlobal('process', undefined)
    const topic = createTopic<T>(name)
    vi.unstubAllGlobals()
    return topic
  }

  it('deliver, count their subscribers and let them go', () => {
    const topic = bareTopic<number>('ambient:test:bare')
    const seen: number[] = []
    expect(topic.hasSubscribers).toBe(false)
    const stop = topic.subscribe(value => seen.push(value))
    expect(topic.hasSubscribers).toBe(true)
    expect(channel('ambient:test:bare').hasSubscribers).toBe(false)
    topic.publish(1)
    stop()
    topic.publish(2)
    expect(seen).toEqual([1])
    expect(topic.hasSubscribers).toBe(false)
  })

  it('a subscriber that throws hurts neither the publisher nor the next subscriber', () => {
    const topic = bareTopic<number>('ambient:test:throws')
    const seen: number[] = []
    topic.subscribe(() => {
      throw new Error('my own mistake')
    })
    topic.subscribe(value => seen.push(value))
    topic.publish(1)
    expect(seen).toEqual([1])
  })
})

describe('noMeter', () => {
  it('takes everything and keeps nothing', () => {
    const options = { name: 'a', help: 'b', labels: ['c'] }
    noMeter.counter(options).add(1, ['x'])
    noMeter.gauge(options).set(1, ['x'])
    noMeter.gauge(options).add(1, ['x'])
    expect(Object.isFrozen(noMeter)).toBe(true)
  })
})
