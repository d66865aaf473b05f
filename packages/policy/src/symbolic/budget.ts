/** A bound on work: past it the answer is that nobody knows, never a guess. */

/** Thrown and caught within this folder only. */
export class BudgetSpent extends Error {
  override readonly name = 'BudgetSpent'
}

export class Budget {
  readonly #steps: number
  #spent = 0

  constructor(steps: number) {
    this.#steps = steps
  }

  get spent(): number {
    return this.#spent
  }

  /** @throws BudgetSpent */
  spend(steps: number): void {
    this.#spent += steps
    if (this.#spent > this.#steps) throw new BudgetSpent(`more than ${this.#steps} steps`)
  }
}
