/** Name constraints of a CA (RFC 5280 §4.2.1.10) for the forms that mesh certificates use: URI and DNS. */
import { quoteText } from '@ambient/core'
import { type Certificate, type GeneralName, generalName } from '../x509/certificate.ts'

/** What a certificate below a constrained CA breaks, `undefined` when nothing. Forms that are not understood fail closed. */
export function nameConstraintProblem(certificate: Certificate, signer: Certificate): string | undefined {
  const constraints = signer.nameConstraints
  if (constraints === undefined) return undefined
  const names = [
    ...(certificate.subjectAltName?.names ?? []),
    ...(certificate.subjectIsEmpty ? [] : [{ tag: generalName.directory, value: certificate.subject }]),
  ]
  for (const name of names) {
    const permitted = constraints.permitted.filter(base => base.tag === name.tag)
    const excluded = constraints.excluded.filter(base => base.tag === name.tag)
    if (permitted.length === 0 && excluded.length === 0) continue
    if (name.tag !== generalName.uri && name.tag !== generalName.dns)
      return 'one of its names has a form whose name constraints are not understood'
    const strange = [...permitted, ...excluded].find(base => base.tag === generalName.uri && !isHost(base))
    if (strange !== undefined)
      return `the constraint ${quoteText(textOf(strange).slice(0, 120))} of its URI is no host name`
    const shown = quoteText(textOf(name).slice(0, 120))
    if (excluded.some(base => matches(name, base))) return `its name ${shown} is excluded by name constraints`
    if (permitted.length > 0 && !permitted.some(base => matches(name, base)))
      return `its name ${shown} is outside the name constraints`
  }
  return undefined
}

function matches(name: GeneralName, base: GeneralName): boolean {
  const constraint = textOf(base).toLowerCase()
  const text = textOf(name)
  if (name.tag === generalName.dns) {
    const host = text.toLowerCase()
    return constraint === '' || host === constraint || host.endsWith(`.${constraint.replace(/^\./, '')}`)
  }
  const host = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#@]*@)?([^/?#:]*)/i.exec(text)?.[1]?.toLowerCase()
  if (host === undefined) return false
  return constraint.startsWith('.') ? host.endsWith(constraint) : host === constraint
}

/** RFC 5280 §4.2.1.10: a host, or a domain that begins with a dot. Whole URIs would match nothing, excluded ones too. */
function isHost(base: GeneralName): boolean {
  return /^\.?[\w-]+(?:\.[\w-]+)*$/.test(textOf(base))
}

function textOf(name: GeneralName): string {
  return Buffer.from(name.value).toString('latin1')
}
