/** The values of the last minutes, kept in memory. */

/** Keeps at most this many samples: ten minutes, one a second. */
export const KEPT = 600;

/** Rows of numbers by time: the times, then each series. */
export class Samples {
  readonly #columns: (number | null)[][];

  constructor(series: number) {
    this.#columns = Array.from({ length: series + 1 }, () => []);
  }

  /** Adds the values of a moment, ms since 1970. */
  add(at: number, values: readonly (number | null | undefined)[]): void {
    const [times] = this.#columns;
    // A clock that was set back would make a plot that runs backwards.
    if ((times?.at(-1) ?? -Infinity) >= at / 1000) return;
    for (const [index, column] of this.#columns.entries()) {
      column.push(index === 0 ? at / 1000 : (values[index - 1] ?? null));
      if (column.length > KEPT) column.shift();
    }
  }

  /** A copy, so that a plot sees that it is new. */
  read(): (number | null)[][] {
    return this.#columns.map((column) => [...column]);
  }
}
