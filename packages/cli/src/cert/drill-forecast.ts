/** Which certificates expire when, and which of them should have been renewed by now. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf } from '@ambient/core'
import { CliError } from '../errors.ts'
import { bundleFacts, readBundleText } from './bundle-text.ts'

export interface Forecast {
  /** The file, or the proxy. */
  readonly where: string
  readonly who: string
  readonly isCa: boolean
  /** RFC 3339. */
  readonly notAfter: string
  /** When it is to be worried about. */
  readonly warnFrom: string
  readonly state: 'ok' | 'warning' | 'expired'
}

/** A certificate, whatever it was read from. */
export interface Dated {
  readonly where: string
  readonly who: string
  readonly isCa: boolean
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

/**
 * Renewal comes at half life and ±10 %: with this much of its lifetime left it has failed for a while. Certificates of a
 * day are never a week from their end.
 */
const OVERDUE_FRACTION = 0.4

/** More in one folder are not read: it is not one of certificates. */
const MAX_FILES = 1_000
const MAX_FILE_BYTES = 4 * 1024 * 1024
const NAMES = /\.(pem|crt|cer|cert)$/i

/** Soonest first. */
export function forecast(certificates: readonly Dated[], warnMs: number, nowMs: number): readonly Forecast[] {
  return [...certificates]
    .sort((a, b) => a.notAfter - b.notAfter)
    .map(({ where, who, isCa, notBefore, notAfter }) => {
      const warnFrom = warnTime({ notBefore, notAfter }, warnMs)
      return {
        where,
        who,
        isCa,
        notAfter: new Date(notAfter).toISOString(),
        warnFrom: new Date(warnFrom).toISOString(),
        state: nowMs > notAfter ? 'expired' : nowMs >= warnFrom ? 'warning' : 'ok',
      }
    })
}

export function warnTime(
  { notBefore, notAfter }: Pick<Dated, 'notAfter' | 'notBefore'>,
  warnMs: number,
): number {
  return notAfter - Math.min(warnMs, (notAfter - notBefore) * OVERDUE_FRACTION)
}

/** Every certificate of a file: a chain, a bundle, PEM or a SPIFFE document. @throws CliError `AMBIENT_E_CLI_INPUT` */
export async function readDatedFile(file: string): Promise<readonly Dated[]> {
  const found = await certificatesOf(file)
  if (found.length > 0) return found
  throw new CliError('AMBIENT_E_CLI_INPUT', `${file}: holds no certificate`)
}

/** Those of its files that look like certificates; keys and lists are passed over. @throws CliError `AMBIENT_E_CLI_INPUT` */
export async function readDatedFolder(folder: string): Promise<readonly Dated[]> {
  let names: readonly string[]
  try {
    names = (await readdir(folder)).filter(name => NAMES.test(name)).sort()
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_INPUT', `--dir: ${messageOf(cause)}`, { cause })
  }
  if (names.length > MAX_FILES)
    throw new CliError('AMBIENT_E_CLI_INPUT', `--dir ${folder}: ${names.length} files, at most ${MAX_FILES}`)
  const found: Dated[] = []
  for (const name of names) found.push(...(await certificatesOf(join(folder, name))))
  if (found.length > 0) return found
  throw new CliError('AMBIENT_E_CLI_INPUT', `--dir ${folder}: holds no certificate`)
}

async function certificatesOf(file: string): Promise<readonly Dated[]> {
  let text: string
  try {
    const { size } = await stat(file)
    if (size > MAX_FILE_BYTES) throw new RangeError(`${size} bytes, at most ${MAX_FILE_BYTES}`)
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_INPUT', `${file}: ${messageOf(cause)}`, { cause })
  }
  if (!/-----BEGIN |"keys"/.test(text)) return []
  const { x509Authorities } = bundleFacts(readBundle(text, file), undefined, 0)
  return x509Authorities.map(({ uris, subject, serial, isCa, notBefore, notAfter }) => ({
    where: file,
    who: nameOf({ uris, subject, serial, isCa }),
    isCa,
    notBefore: Date.parse(notBefore),
    notAfter: Date.parse(notAfter),
  }))
}

/** An authority's ID is that of its trust domain; its name tells a root from an intermediate. */
function nameOf(of: { uris: readonly string[]; subject: string; serial: string; isCa: boolean }): string {
  const [uri = ''] = of.uris
  return (of.isCa ? of.subject || uri : uri || of.subject) || `serial ${of.serial}`
}

function readBundle(text: string, file: string): ReturnType<typeof readBundleText> {
  try {
    return readBundleText(text, undefined)
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_INPUT', `${file}: ${messageOf(cause)}`, { cause })
  }
}
