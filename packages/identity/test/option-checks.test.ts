/** Callers without types: what is wrong is named, wherever it is given. */
import { parseSpiffeId } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import * as identity from '../src/index.ts'

const ID = parseSpiffeId('spiffe://example.org/ns/shop/sa/web')
const ca = await identity.createCertificateAuthority({ trustDomain: 'example.org' })
const manager = identity.createIdentityManager({ signer: identity.createLocalSigner(ca) })
const source = manager.x509Source(ID)

type Anything = (...args: unknown[]) => unknown
/** As JavaScript sees it. */
const exported = new Map(Object.entries(identity))
const of = (name: keyof typeof identity): Anything => exported.get(name) as unknown as Anything
const methodOf =
  (target: object, name: string): Anything =>
  (...args) =>
    (target as Readonly<Record<string, Anything>>)[name]?.(...args)

describe('AMBIENT_E_IDENTITY_OPTION names', () => {
  it.each<[string, Anything, readonly unknown[], string]>([
    ['createIdentityManager', of('createIdentityManager'), [{}], 'signer: expected a CertificateSigner'],
    ['a CA as signer', of('createIdentityManager'), [{ signer: ca }], 'signer: expected a CertificateSigner'],
    ['createLocalSigner', of('createLocalSigner'), [], 'ca: expected a CA'],
    [
      'createCertificateAuthority',
      of('createCertificateAuthority'),
      [],
      'options: expected an object, found undefined',
    ],
    ['createCertificateAuthority', of('createCertificateAuthority'), [{}], 'trustDomain: expected a text'],
    ['createCertificateAuthorityFiles', of('createCertificateAuthorityFiles'), [{}], 'dir: expected a text'],
    [
      'openCertificateAuthority',
      of('openCertificateAuthority'),
      [{ dir: 5 }],
      'dir: expected a text, found 5',
    ],
    ['createCaServer', of('createCaServer'), [{}], 'ca: expected a CA'],
    ['createCaService', of('createCaService'), [{ ca }], 'authorize: expected a function'],
    ['authenticateCallers', of('authenticateCallers'), [{}], 'ca: expected a CA'],
    [
      'createIstioCaClient',
      of('createIstioCaClient'),
      [{ address: 'https://a:1' }],
      'rootPem: expected a function',
    ],
    ['createFileSource', of('createFileSource'), [{}], 'certificate: expected a text'],
    ['createFederation', of('createFederation'), [{}], 'endpoints: expected an array'],
    ['createFederation', of('createFederation'), [{ endpoints: [{}] }], 'trustDomain: expected a text'],
    ['createBundleEndpoint', of('createBundleEndpoint'), [], 'options: expected an object'],
    ['createJwtAuthority', of('createJwtAuthority'), [{}], 'trustDomain: expected a text'],
    ['createWorkloadApiSource', of('createWorkloadApiSource'), [{}], 'address: expected a text'],
    ['createWorkloadApiServer', of('createWorkloadApiServer'), [{}], 'attest: expected a function'],
    ['createCredentials', of('createCredentials'), [{}], 'certificateChain: expected a text'],
    ['verifyPeerChain', of('verifyPeerChain'), [{}], 'chain: expected an array'],
    ['explainChain', of('explainChain'), [{}], 'chain: expected an array'],
    ['createTlsOptions', of('createTlsOptions'), [source], 'request: expected an object'],
    ['createTlsOptions', of('createTlsOptions'), [{}, {}], 'source: expected an X509Source'],
    ['createServerIdentityCheck', of('createServerIdentityCheck'), [source], 'rules: expected an object'],
    ['connectTls', of('connectTls'), [source], 'options: expected an object'],
    ['createHttpsAgent', of('createHttpsAgent'), [source], 'rules: expected an object'],
    ['createUndiciConnector', of('createUndiciConnector'), [source], 'rules: expected an object'],
    [
      'createGrpcChannelCredentials',
      of('createGrpcChannelCredentials'),
      [source],
      'rules: expected an object',
    ],
    ['createGrpcServerCredentials', of('createGrpcServerCredentials'), [], 'source: expected an X509Source'],
    ['secureServer', of('secureServer'), [{}], 'source: expected an X509Source'],
    ['credentialsSourceOf', of('credentialsSourceOf'), [{}], 'source: expected an X509Source'],
    ['createCertificateRequest', of('createCertificateRequest'), [ID.uri], 'id: expected a SpiffeId'],
    ['ca.sign', methodOf(ca, 'sign'), [{ csrPem: '', id: ID.uri }], 'id: expected a SpiffeId'],
    [
      'manager.get',
      methodOf(manager, 'get'),
      [ID.uri],
      `id: expected a SpiffeId (parseSpiffeId() of @ambient/core makes one), found "${ID.uri}"`,
    ],
    ['manager.x509Source', methodOf(manager, 'x509Source'), [ID.uri], 'id: expected a SpiffeId'],
    ['manager.rotate', methodOf(manager, 'rotate'), [], 'id: expected a SpiffeId'],
  ])('%s', async (_, call, args, message) => {
    await expect((async () => call(...args))()).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_OPTION',
      message: expect.stringContaining(message),
    })
  })

  it('but nothing of a long text, which may be a key', async () => {
    const key = `-----BEGIN PRIVATE KEY-----\n${'A'.repeat(200)}`
    await expect((async () => of('createLocalSigner')(key))()).rejects.toThrow(
      /found a text of 228 characters/,
    )
  })
})
