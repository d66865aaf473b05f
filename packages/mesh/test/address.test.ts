import { describe, expect, test } from 'vitest'
import { listen } from '@ambient/core/node'
import { blockCandidates, createAddressBlock } from '../src/address/block.ts'
import { assertPortFree, claimBlock, loopbackAdvice } from '../src/address/claim.ts'
import { describeHolder } from '../src/address/port-holder.ts'

describe('address block', () => {
  test('gives every kind of thing its own corner', () => {
    const block = createAddressBlock(77)
    expect(block.cidr).toBe('127.77.0.0/16')
    expect([block.node(0), block.node(1)]).toEqual(['127.77.0.1', '127.77.0.2'])
    expect([block.takePod(0), block.takePod(0), block.takePod(1)]).toEqual([
      '127.77.10.1',
      '127.77.10.2',
      '127.77.11.1',
    ])
    expect(block.controlPlane).toBe('127.77.0.254')
  })

  test('a Service keeps its address', () => {
    const block = createAddressBlock(77)
    const first = block.serviceAddress('a/b')
    expect(block.serviceAddress('a/c')).not.toBe(first)
    expect(block.serviceAddress('a/b')).toBe(first)
  })

  test('an address is given again only after all others, and never twice at once', () => {
    const block = createAddressBlock(77)
    const first = block.takePod(0)
    block.releasePod(first)
    expect(block.takePod(0)).not.toBe(first)
    const taken = new Set(Array.from({ length: 251 }, () => block.takePod(0)))
    expect(taken.size).toBe(251)
    expect(taken).toContain(first)
    expect(() => block.takePod(0)).toThrow(/all 252 addresses for the pods of node 1 are in use/)
  })

  test('candidates are every block once, in the order of chance', () => {
    let seed = 1
    const random = (): number => {
      seed = (seed * 16807) % 2147483647
      return seed / 2147483647
    }
    const candidates = blockCandidates(random)
    expect(new Set(candidates).size).toBe(235)
    expect(candidates).not.toEqual([...candidates].sort((a, b) => a - b))
  })
})

test('where loopback addresses are missing, one line says how to add them', () => {
  expect(loopbackAdvice(88, 2)).toBe(
    'for a in 0.1 0.2 0.253 0.254 10.{1..12} 11.{1..12}; do sudo ifconfig lo0 alias 127.88.$a up; done',
  )
})

describe.runIf(process.platform === 'linux')('claim', () => {
  test('takes a block whose ports are free and passes over one that is held', async () => {
    const holder = await listen({
      host: '127.90.0.254',
      port: 15012,
      onConnection: socket => socket.destroy(),
    })
    await expect(claimBlock({ block: 90, nodes: 2, random: Math.random })).rejects.toMatchObject({
      code: 'AMBIENT_E_MESH_PORT_IN_USE',
      message: expect.stringMatching(
        /^port 15012 on 127\.90\.0\.254, needed for the control plane, is in use by .*\(pid [0-9]+\)$/,
      ),
    })
    await holder.close()
    expect((await claimBlock({ block: 90, nodes: 2, random: Math.random })).block).toBe(90)
  })

  test('names the holder of a port, also one that listens on all addresses', async () => {
    const holder = await listen({ host: '0.0.0.0', port: 0, onConnection: socket => socket.destroy() })
    expect(await describeHolder('127.91.0.1', holder.port)).toContain(`(pid ${process.pid})`)
    await expect(assertPortFree('127.91.0.1', holder.port, 'shop')).rejects.toThrow(
      `port ${holder.port} on 127.91.0.1, needed for shop, is in use by`,
    )
    await holder.close()
    await assertPortFree('127.91.0.1', holder.port, 'shop')
    expect(await describeHolder('127.91.0.1', holder.port)).toBeUndefined()
  })
})
