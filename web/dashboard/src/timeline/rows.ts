/** From rows of the list to seqs and back: all seqs with each gap as one row, or those that a filter lets through. */
import type { Entry, Gap, Kind } from "./entry.js";
import type { Timeline } from "./store.js";

/** The rows of a list. */
export interface Rows {
  readonly count: number;
  /** The seq of a row; of a gap, its first. */
  seqAt(row: number): number;
  /** The row of a seq, or the nearest before it. -1 if there is none. */
  rowOf(seq: number): number;
}

/** All seqs up to `last`; each gap is one row. */
export function allRows(last: number, gaps: readonly Gap[]): Rows {
  const inside = gaps.filter((gap) => gap.from <= last);
  const hidden = (gap: Gap): number => Math.min(gap.to, last) - gap.from;
  return {
    count: last - inside.reduce((sum, gap) => sum + hidden(gap), 0),
    seqAt(row) {
      let seq = row + 1;
      for (const gap of inside) {
        if (seq <= gap.from) break;
        seq += hidden(gap);
      }
      return seq;
    },
    rowOf(seq) {
      let row = Math.min(seq, last) - 1;
      for (const gap of inside) {
        if (seq <= gap.from) break;
        row -= Math.min(Math.min(seq, last) - gap.from, hidden(gap));
      }
      return row;
    },
  };
}

/** These seqs, which are in order, as far as `last`. */
export function listRows(seqs: readonly number[], last: number): Rows {
  const count = after(seqs, last);
  return {
    count,
    seqAt: (row) => seqs[row] ?? 0,
    rowOf: (seq) => Math.min(after(seqs, seq), count) - 1,
  };
}

/** How many of the numbers, which are in order, are at most `limit`. */
export function after(numbers: readonly number[], limit: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((numbers[middle] ?? Infinity) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What a reader wants to see. */
export interface Filter {
  /** Kinds that are shown; empty for all. */
  kinds: ReadonlySet<Kind>;
  /** Text that has to occur, in any case of letters. */
  text: string;
}

/** Most characters of an entry that a search looks at. */
const SEARCHED = 20_000;

/** Whether an entry passes. `needle` is the filter's text in small letters. */
export function passes(entry: Entry, kinds: ReadonlySet<Kind>, needle: string): boolean {
  if (kinds.size > 0 && !kinds.has(entry.kind)) return false;
  if (needle === "") return true;
  const whole = `${entry.name} ${entry.sender?.username ?? ""} ${JSON.stringify(entry.data).slice(0, SEARCHED)}`;
  return whole.toLowerCase().includes(needle);
}

/** The seqs that pass a filter, kept up to date by looking only at what is new. */
export class Filtered {
  readonly #timeline: Timeline;
  readonly #kinds: ReadonlySet<Kind>;
  readonly #needle: string;
  #seqs: number[] = [];
  #seen = 0;
  #generation = 0;

  constructor(timeline: Timeline, filter: Filter) {
    this.#timeline = timeline;
    this.#kinds = filter.kinds;
    this.#needle = filter.text.trim().toLowerCase();
  }

  /** The seqs, in order. */
  read(): readonly number[] {
    const { journal, generation } = this.#timeline;
    if (generation !== this.#generation) [this.#seqs, this.#seen, this.#generation] = [[], 0, generation];
    let isSorted = true;
    for (; this.#seen < journal.length; this.#seen += 1) {
      const seq = journal[this.#seen] ?? 0;
      const entry = this.#timeline.get(seq);
      if (!entry || !passes(entry, this.#kinds, this.#needle)) continue;
      if ((this.#seqs.at(-1) ?? 0) > seq) isSorted = false;
      this.#seqs.push(seq);
    }
    if (!isSorted) this.#seqs.sort((a, b) => a - b);
    return this.#seqs;
  }
}
