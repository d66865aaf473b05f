/** Certificate requests that ask for more than they may, with the library's own extensions. */
import 'reflect-metadata'
import { type KeyPairKeyObjectResult, webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from '@peculiar/x509'

export interface TrickRequest {
  readonly subject?: string
  readonly uris?: readonly string[]
  /** CA:TRUE, and the usage of one. */
  readonly isCa?: boolean
  readonly purposes?: readonly string[]
  /** An RSA key that `node:crypto` made, where WebCrypto would not. */
  readonly key?: KeyPairKeyObjectResult
}

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }

export async function createTrickRequest(trick: TrickRequest): Promise<string> {
  const { subject, uris, isCa = false, purposes, key } = trick
  const extensions: Extension[] = []
  if (uris !== undefined)
    extensions.push(new SubjectAlternativeNameExtension(uris.map(value => ({ type: 'url', value }))))
  if (isCa)
    extensions.push(
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    )
  if (purposes !== undefined) extensions.push(new ExtendedKeyUsageExtension([...purposes]))
  const request = await Pkcs10CertificateRequestGenerator.create(
    {
      ...(subject === undefined ? {} : { name: subject }),
      keys:
        key === undefined
          ? await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify'])
          : await rsa(key),
      signingAlgorithm: key === undefined ? P256 : RSA,
      extensions,
    },
    webcrypto,
  )
  return `${request.toString('pem')}\n`
}

async function rsa({ privateKey, publicKey }: KeyPairKeyObjectResult): Promise<webcrypto.CryptoKeyPair> {
  const { subtle } = webcrypto
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' })
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  return {
    privateKey: await subtle.importKey('pkcs8', pkcs8, RSA, true, ['sign']),
    publicKey: await subtle.importKey('spki', spki, RSA, true, ['verify']),
  }
}
