/** Every bound of this package, with its reason. */

export const limits = Object.freeze({
  /** A larger manifest is a mistake or an attack; 4 MiB holds some 20 000 policies. */
  maxDocumentBytes: 4 * 1024 * 1024,
  /** No Kubernetes object comes near; recursion stays far from the end of the stack. */
  maxDepth: 64,
  /** A text that is no YAML at all breaks on each of its lines: the first ones say enough. */
  maxProblems: 100,
  /** A value in a message is cut here, so that one line of a log stays one line. */
  maxQuotedLength: 80,
  /** Istio's own limits on `serviceAccounts`, because each value is a regular expression in Envoy. */
  maxServiceAccounts: 16,
  /** Istio's limit on one of them. */
  maxServiceAccountLength: 320,
  /** Istio's limit on `targetRefs`. */
  maxTargetRefs: 16,
  /** Cases of one file of tests, after lists became combinations: five lists of ten would be 100 000. */
  maxTestCases: 10_000,
  /** An evaluator keeps which policies concern whom; past this many enforcers it begins anew. */
  maxKnownEnforcers: 1_000,
  /** A key set of more keys is no issuer's: each key without `kid` is tried in turn. */
  maxJwksKeys: 100,
  /** Of a key set's text: a hundred keys with their certificates fit in. */
  maxJwksBytes: 1024 * 1024,
  /** Issuers whose keys are kept; each comes from a document of ours. */
  maxJwksSources: 1_024,
  /** From one address of the issuer's own to another. */
  maxJwksRedirects: 3,
  /** A longer token is refused before it is decoded; proxies take heads of 60 KiB, no issuer needs that much. */
  maxTokenBytes: 16 * 1024,
  /** Of a token's JSON; claims are flat. Deep ones have stopped other proxies (CVE-2026-48042). */
  maxTokenDepth: 32,
  /** Places of one rule where a request may carry a token, the same or not; each is work. */
  maxTokensPerRule: 8,
  /** Envoy's: clocks of issuers differ from ours by this much. */
  tokenClockSkewSeconds: 60,
  /** Istio's limit on the name of an extension provider: a DNS label. */
  maxProviderName: 63,
  /** DNS's limit on a name. */
  maxHostLength: 253,
  /** Istio's default is the longest that a provider may take: each check holds a request and its caller. */
  maxProviderTimeoutMs: 600_000,
  /** Of a request's body that a provider sees: it is held in memory until the answer, for each request. */
  maxCheckedBodyBytes: 4 * 1024 * 1024,
  /**
   * Steps of one symbolic comparison, of which a diff makes seven: states of automata, classes and rules looked at. Some
   * seconds of work; a diff of ten thousand policies of which a few changed takes a hundredth of it.
   */
  maxDiffSteps: 1_000_000,
  /** Things that one comparison tells apart (ports, headers, claims): one level of its search each, and stacks end. */
  maxDimensions: 500,
  /** Regions of requests that one diff tells of; nobody reads more, and the rest is said to be undecided. */
  maxDiffRegions: 1000,
  /** Steps of the search behind one question of lint about one or two rules: tens of milliseconds at most. */
  maxLintSteps: 20_000,
  /** Steps of all questions of one lint: some seconds. Past them the other rules are said to be left open. */
  maxLintTotalSteps: 2_000_000,
  /** Pairs of rules that lint compares; past them the rest is not looked at for shadows. */
  maxLintPairs: 2_000,
  /** Pairs of rules that lint looks at, however briefly, for one that shadows another: some seconds. */
  maxLintLooks: 1_000_000,
})
