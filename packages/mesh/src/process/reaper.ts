/**
 * Ends what is left when our own process dies without a chance to: a shell that is told of every process group and
 * waits for its standard input to close. It runs in a session of its own, so no Ctrl-C reaches it.
 */
import { type ChildProcess, spawn } from 'node:child_process'

/** `+ PID` and `- PID` keep the list, `d DIR` and `f FILE` name what to remove. The end of input is the end of all. */
const SCRIPT = `
trap '' INT TERM HUP
groups=' '
folder=
file=
while IFS=' ' read -r verb value; do
  case $verb in
    +) groups="$groups$value " ;;
    -) case $groups in *" $value "*) groups="\${groups%%" $value "*} \${groups#*" $value "}" ;; esac ;;
    d) folder=$value ;;
    f) file=$value ;;
  esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
[ -n "$file" ] && command -p rm -f "$file" 2>/dev/null
[ -n "$file" ] && command -p rmdir "\${file%/*}" 2>/dev/null
[ -n "$folder" ] && command -p rm -rf "$folder" 2>/dev/null
exit 0
`

export interface Reaper {
  readonly pid: number | undefined
  add(group: number): void
  remove(group: number): void
  /** One file that is removed with the folder; a path with newlines is not. */
  addFile(path: string): void
  /** Resolves when the shell has ended; whatever was added and not removed is killed. */
  close(): Promise<void>
}

/** Starts the shell. `folder` is removed with the groups; a path with newlines is not. */
export function createReaper(folder: string): Reaper {
  const child = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  const ended = new Promise<void>(resolve => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  child.stdin.on('error', () => {})
  const tell = (line: string): void => {
    if (child.stdin.writable) child.stdin.write(`${line}\n`)
  }
  const isPlain = (path: string): boolean => !/[\n\\]/.test(path)
  if (isPlain(folder)) tell(`d ${folder}`)
  unref(child)
  return {
    pid: child.pid,
    add: group => tell(`+ ${group}`),
    remove: group => tell(`- ${group}`),
    addFile(path) {
      if (isPlain(path)) tell(`f ${path}`)
    },
    close() {
      child.ref()
      child.stdin.end()
      return ended
    },
  }
}

/** The shell must not keep our process alive. */
function unref(child: ChildProcess): void {
  child.unref()
  const stdin = child.stdin
  if (stdin !== null && 'unref' in stdin && typeof stdin.unref === 'function') stdin.unref()
}
