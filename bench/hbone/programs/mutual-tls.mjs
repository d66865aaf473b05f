// The same TLS for every pair that speaks it: 1.3, both sides with certificates, HBONE's cipher suites in its order.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export function mutualTls(folder, name) {
  const file = suffix => readFileSync(join(folder, `${name}.${suffix}`), 'utf8')
  return {
    cert: file('crt'),
    key: file('key'),
    ca: readFileSync(join(folder, 'ca.crt'), 'utf8'),
    minVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256',
    requestCert: true,
    // Names are SPIFFE IDs, which the platform cannot check: it is asked for nothing but encryption here.
    rejectUnauthorized: false,
  }
}
