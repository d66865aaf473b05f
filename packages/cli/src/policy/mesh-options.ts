/** What commands that decide have to know of the mesh: one set of options for all of them. */
import type { EvaluatorOptions, PathNormalization, PolicyDialect } from '@ambient/policy'
import { type Command, Option } from 'commander'
import { collect } from '../command-line.ts'

export const DIALECTS = ['ztunnel', 'envoy-tcp', 'envoy-http'] as const satisfies readonly PolicyDialect[]
const NORMALIZATIONS = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

export interface MeshOptions {
  readonly rootNamespace: string
  readonly trustDomain: string
  readonly trustDomainAlias?: readonly string[]
  readonly custom: 'allow' | 'deny'
  readonly pathNormalization: PathNormalization
}

export function addMeshOptions(command: Command): Command {
  return command
    .option('--root-namespace <name>', 'whose policies are for every namespace', 'istio-system')
    .option('--trust-domain <name>', "the mesh's own", 'cluster.local')
    .option('--trust-domain-alias <name>', 'another that means the same mesh (repeat)', collect)
    .addOption(
      new Option('--custom <answer>', 'what the providers of CUSTOM policies answer')
        .choices(['allow', 'deny'])
        .default('deny'),
    )
    .addOption(
      new Option('--path-normalization <mode>', "the mesh's").choices(NORMALIZATIONS).default('BASE'),
    )
}

export function evaluatorOptions(options: MeshOptions): Omit<EvaluatorOptions, 'dialect'> {
  const { rootNamespace, trustDomain, trustDomainAlias = [], custom, pathNormalization } = options
  return { rootNamespace, trustDomain, trustDomainAliases: trustDomainAlias, custom, pathNormalization }
}
