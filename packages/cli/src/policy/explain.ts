/** `ambient policy explain`: what would be decided over a request, and why. */
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { messageOf, quoteText } from '@ambient/core'
import {
  createEvaluator,
  type Enforcer,
  formatVerdict,
  type MeshFacts,
  parseJson,
  type PathNormalization,
  type PolicyDialect,
  type PolicyRequest,
  type PolicyVerdict,
  readEnforcer,
  readPolicyRequest,
} from '@ambient/policy'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { readTime } from '../cert/time.ts'
import { addCommand, collect, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { type OutputFormat, render, renderItems } from '../output.ts'
import { writeAll } from '../write-all.ts'
import { requestOfOptions, type HandOptions } from './from-to.ts'
import { meshFactsOf } from './mesh-facts.ts'
import { readPolicyDocuments } from './read-documents.ts'

const EXAMPLES = `
Examples:
  $ ambient policy explain -f policies/ --dialect ztunnel \\
      --from cluster.local/ns/ui/sa/app --to shop/web-1:8080 --label app=web
  $ ambient policy explain -f policies/ --dialect envoy-http --from cluster.local/ns/ui/sa/app \\
      --to shop/web-1:80 --service shop/web --method GET --path /items
  $ kubectl get authorizationpolicies,requestauthentications,peerauthentications -A -o yaml |
      ambient policy explain -f - --dialect envoy-http --request request.json -o json

--request has a request as JSON, or a list of them; the answers come in their order:
  { "source": { "principal": "td/ns/n/sa/s", "ip": "10.0.0.1", "remoteIp": "192.0.2.1" },
    "destination": { "namespace": "shop", "workload": "web-1", "labels": { "app": "web" },
                     "service": "shop/web", "ip": "10.0.0.2", "port": 80 },
    "http": { "method": "GET", "authority": "web", "path": "/", "headers": { "x-a": ["1", "2"] } },
    "jwt": { "payload": { "iss": "…", "sub": "…" } }, "sni": "…" }
No principal: plaintext. remoteIp is what a trusted proxy says, ip when absent.

Dialects: ztunnel answers as istiod and ztunnel do, envoy-tcp and envoy-http as istiod
and Envoy do, mistakes of theirs included; the reason names them. Without --dialect:
envoy-http for requests with http, ztunnel for the others.

--enforcer says which proxy it is: { "kind": "workload"|"waypoint"|"gateway",
"namespace", "name", "labels", "service" }. Without it:
  ztunnel                       the ztunnel of the destination's workload: by its
                                namespace and labels
  envoy-*, with a service       the waypoint of that service: "waypoint" in the
                                service's namespace, as istioctl names it, or the one
                                that manifests among the files give to the service
  envoy-*, without one          the workload's sidecar: by its namespace and labels
A gateway is an ingress gateway: targetRefs to it, and selectors of its labels.
Labels of a workload that is among the files need not be written again.

--at asks as of a time: an ALLOW policy whose annotation ambient.dev/expires has passed
allows nothing then. Without it nothing ends, as at a real istiod.

A matched CUSTOM policy is a denial; --custom allow goes on as if its provider had
agreed. A token counts only if an attached RequestAuthentication has its issuer.

Exit code 0, whatever the verdict is; 2: the command line, a request or a document is
wrong, each mistake as file:line:column: message.
`

const DIALECTS = ['ztunnel', 'envoy-tcp', 'envoy-http'] as const satisfies readonly PolicyDialect[]
const NORMALIZATIONS = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

interface ExplainOptions extends HandOptions {
  readonly file: readonly string[]
  readonly dialect?: PolicyDialect
  readonly rootNamespace: string
  readonly trustDomain: string
  readonly trustDomainAlias?: readonly string[]
  readonly enforcer?: string
  readonly request?: string
  readonly custom: 'allow' | 'deny'
  readonly pathNormalization: PathNormalization
  /** Milliseconds since the epoch. */
  readonly at?: number
  readonly output: OutputFormat
}

export function registerPolicyExplain(policy: Command, context: CommandContext): void {
  addCommand(policy, 'explain', 'what would be decided over a request, and why', context)
    .requiredOption('-f, --file <path...>', 'files, folders, or - for standard input (repeat)')
    .addOption(new Option('--dialect <dialect>', 'whose decision').choices(DIALECTS))
    .option('--root-namespace <name>', 'whose policies are for every namespace', 'istio-system')
    .option('--trust-domain <name>', "the mesh's own", 'cluster.local')
    .option('--trust-domain-alias <name>', 'another that means the same mesh (repeat)', collect)
    .option('--enforcer <json>', 'which proxy decides (default: of the destination)')
    .option('--request <file>', 'requests as JSON, - for standard input')
    .option(
      '--from <principal>',
      'TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, or NAMESPACE/ACCOUNT; without it plaintext',
    )
    .option('--ip <address>', "the caller's")
    .option('--to <destination>', 'NAMESPACE/WORKLOAD:PORT')
    .option('--service <namespace/name>', 'the service that is called')
    .option('--label <key=value>', "a label of the destination's workload (repeat)", collect)
    .option('--method <method>', 'of HTTP')
    .option('--path <path>', 'of HTTP, with the query')
    .option('--host <authority>', 'of HTTP')
    .option('--header <name: value>', 'of HTTP (repeat)', collect)
    .addOption(
      new Option('--custom <answer>', 'what the providers of CUSTOM policies answer')
        .choices(['allow', 'deny'])
        .default('deny'),
    )
    .addOption(
      new Option('--path-normalization <mode>', "the mesh's").choices(NORMALIZATIONS).default('BASE'),
    )
    .option('--at <time>', 'as a mesh of ours decides at this time: ends of policies count', timeOf)
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: ExplainOptions) => context.finish(await explain(options, context.host)))
}

function timeOf(text: string): number {
  const timeMs = readTime(text)
  if (timeMs === undefined) throw new InvalidArgumentError('expected a time such as 2026-12-31T18:00:00Z.')
  return timeMs
}

async function explain(options: ExplainOptions, host: CliHost): Promise<number> {
  const enforcer = readEnforcerOption(options.enforcer)
  checkRequestOptions(options)
  const documents = await readPolicyDocuments(options.file, host, { emptySelector: 'warned' })
  const { requests, many } = await readRequests(options, host)
  const evaluatorOf = (dialect: PolicyDialect) =>
    createEvaluator(documents, {
      dialect,
      rootNamespace: options.rootNamespace,
      trustDomain: options.trustDomain,
      trustDomainAliases: options.trustDomainAlias ?? [],
      pathNormalization: options.pathNormalization,
      custom: options.custom,
      ...(options.at === undefined ? {} : { at: options.at }),
    })
  const evaluators = new Map(DIALECTS.map(dialect => [dialect, evaluatorOf(dialect)]))
  const mesh = documents.others.length === 0 ? undefined : meshFactsOf(documents, options).mesh
  const noted = new Set<string>()
  const answer = (given: PolicyRequest): Answer[] => {
    const request = withLabels(given, mesh)
    const dialect = options.dialect ?? (request.http === undefined ? 'ztunnel' : 'envoy-http')
    const verdict = evaluators.get(dialect)?.decide(request, enforcer ?? waypointOf(request, dialect, mesh))
    if (enforcer === undefined && dialect !== 'ztunnel') noteNoWaypoint(request, mesh, noted)
    return verdict === undefined ? [] : [{ request, verdict }]
  }
  await writeAll(texts(answersTo(requests, answer), many, options.output), host)
  for (const note of noted) host.stderr(note)
  return EXIT_OK
}

interface Answer {
  readonly request: PolicyRequest
  readonly verdict: PolicyVerdict
}

/** One by one: a verdict tells of every policy, and there may be many of both. */
function* answersTo(
  requests: readonly PolicyRequest[],
  answer: (request: PolicyRequest) => readonly Answer[],
): Generator<Answer> {
  for (const request of requests) yield* answer(request)
}

function* verdictsOf(answers: Iterable<Answer>): Generator<PolicyVerdict> {
  for (const { verdict } of answers) yield verdict
}

/** A text per verdict. */
function* texts(answers: Iterable<Answer>, many: boolean, format: OutputFormat): Generator<string> {
  if (format === 'table') {
    let before = ''
    for (const { request, verdict } of answers) {
      yield `${before}${formatVerdict(request, verdict)}\n`
      before = '\n'
    }
  } else if (many) yield* renderItems(format, verdictsOf(answers))
  else for (const verdict of verdictsOf(answers)) yield render(format, verdict, () => '')
}

/** Those of the workload, where the request names one of the manifests and says nothing of them. */
function withLabels(request: PolicyRequest, mesh: MeshFacts | undefined): PolicyRequest {
  const { namespace, workload, labels } = request.destination
  const known = mesh?.workloads.find(one => one.namespace === namespace && one.name === workload)
  if (labels !== undefined || known === undefined) return request
  return { ...request, destination: { ...request.destination, labels: known.labels } }
}

/** The waypoint that the manifests give to the service that is called. */
function waypointOf(
  { destination }: PolicyRequest,
  dialect: PolicyDialect,
  mesh: MeshFacts | undefined,
): Enforcer | undefined {
  const { service } = destination
  const known = mesh?.services.find(one => `${one.namespace}/${one.name}` === service)
  if (dialect === 'ztunnel' || service === undefined || known?.waypoint === undefined) return undefined
  const [namespace = '', name = ''] = known.waypoint.split('/')
  return { kind: 'waypoint', namespace, name, service }
}

/** A decision of a proxy that is not there: the files know the service, and that it has none. */
function noteNoWaypoint(
  { destination }: PolicyRequest,
  mesh: MeshFacts | undefined,
  noted: Set<string>,
): void {
  const known = mesh?.services.find(one => `${one.namespace}/${one.name}` === destination.service)
  if (known === undefined || known.waypoint !== undefined) return
  noted.add(
    `note: Service ${destination.service} has no waypoint in these files: this is what one would decide, and there nobody does; --dialect ztunnel is what its workloads' ztunnels decide\n`,
  )
}

/** Before anything is read: a command line that is wrong is the only thing to tell. */
function checkRequestOptions({ request, to, from, file }: ExplainOptions): void {
  if (request === undefined && to === undefined)
    throw usage('--request, or --to with or without --from, is needed')
  if (request !== undefined && (to !== undefined || from !== undefined))
    throw usage('expected only one of --request and --from, --to')
  if (request === '-' && file.includes('-'))
    throw usage('standard input is one thing: expected only one of -f - and --request -')
}

async function readRequests(
  options: ExplainOptions,
  host: CliHost,
): Promise<{ readonly requests: readonly PolicyRequest[]; readonly many: boolean }> {
  const { request: path } = options
  if (path === undefined) return { requests: [requestOfOptions(options)], many: false }
  const where = path === '-' ? 'standard input' : path
  const value = parseJson(await readText(path, host), where)
  return Array.isArray(value)
    ? { requests: value.map((one, index) => readPolicyRequest(one, `${where}[${index}]`)), many: true }
    : { requests: [readPolicyRequest(value, where)], many: false }
}

async function readText(path: string, host: CliHost): Promise<string> {
  try {
    return path === '-' ? await text(host.input) : await readFile(path, 'utf8')
  } catch (cause) {
    throw usage(`--request ${quoteText(path)} cannot be read: ${messageOf(cause)}`, cause)
  }
}

function readEnforcerOption(written: string | undefined): Enforcer | undefined {
  return written === undefined ? undefined : readEnforcer(parseJson(written, '--enforcer'), '--enforcer')
}

function usage(message: string, cause?: unknown): CliError {
  return new CliError('AMBIENT_E_CLI_USAGE', message, { cause })
}
