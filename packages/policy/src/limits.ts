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
  /** Istio's limit on the name of an extension provider: a DNS label. */
  maxProviderName: 63,
  /** DNS's limit on a name. */
  maxHostLength: 253,
  /** Istio's default is the longest that a provider may take: each check holds a request and its caller. */
  maxProviderTimeoutMs: 600_000,
  /** Of a request's body that a provider sees: it is held in memory until the answer, for each request. */
  maxCheckedBodyBytes: 4 * 1024 * 1024,
})
