/** The transcript of docs/cli.md: its files, its commands, and what they print. */
import { blocksOf } from '../repo/markdown.ts'

export type TranscriptStep =
  /** Written before the first command, or in its place when it is for later. */
  | { readonly kind: 'file'; readonly path: string; readonly text: string; readonly later: boolean }
  /** A command, or Ctrl-C to the one that is still running. */
  | {
      readonly kind: 'command' | 'interrupt'
      readonly command: string
      /** It goes on; its output is what it prints at first. */
      readonly stays: boolean
      readonly output: string
      readonly line: number
    }

export function readTranscript(file: string): readonly TranscriptStep[] {
  return blocksOf(file).flatMap(({ language, flags, code, line }): readonly TranscriptStep[] => {
    const [first = ''] = flags
    if (language !== 'console')
      return first.includes('/')
        ? [{ kind: 'file', path: first, text: `${code}\n`, later: flags.includes('later') }]
        : []
    const starts = code.split('\n').flatMap((text, index) => (/^(\$ |\^C$)/.test(text) ? [index] : []))
    const lines = code.split('\n')
    return starts.map((start, index) => {
      const command = lines[start] ?? ''
      return {
        kind: command === '^C' ? 'interrupt' : 'command',
        command: command.replace(/^\$ /, ''),
        stays: flags.includes('up'),
        output: lines.slice(start + 1, starts[index + 1]).join('\n'),
        line: line + start + 1,
      }
    })
  })
}

/** What differs from run to run, and the widths of columns that follow from it. */
export function masked(text: string): string {
  return text
    .replace(/^Node\.js \S+ is past its end of life.*\n/m, '')
    .replace(/^(node +)[\d.]+$/m, '$1VERSION')
    .replace(/\bconfiguration \d+/g, 'configuration N')
    .replace(/\b([0-9a-f]{16}|[0-9a-f]{32})\b/g, 'HASH')
    .replace(/\b(root|intermediate) [0-9a-f]{8}\b/g, '$1 HASH')
    .replace(/\b127\.\d+\.(\d+\.\d+)/g, '127.R.$1')
    .replace(/\b(web|waypoint|bookinfo-productpage)-[a-z0-9]{8,10}-[a-z0-9]{5}\b/g, '$1-POD')
    .replace(/\b\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replace(/(?<= )(\d+[smhd])+(?=$| )/gm, 'AGE')
    .replace(/\b\d{3,}\b/g, 'N')
    .replace(/[ \t]+/g, ' ')
    .replace(/ $/gm, '')
    .trim()
}
