/**
 * What is known of a session's log: entries by seq, an index by kind, and the gaps. Entries come in any order (the tail
 * first, then what arrives, then ranges that are looked at); each is kept once.
 *
 * Memory is bounded, by entries and by bytes: `settle` lets go of entries far from what is looked at and from the newest ones. They
 * are missing then, and are loaded again by whoever comes to them. What is in sight stays, however large it is.
 */
import type { Entry, Gap, Kind } from "./entry.js";

interface Index {
  seqs: number[];
  isSorted: boolean;
}

/** How much is kept. */
export interface Bounds {
  entries: number;
  bytes: number;
}

/** What is kept at the most, when nobody asks for more. An event may have 16 MiB. */
export const KEPT: Bounds = { entries: 20_000, bytes: 100_000_000 };
/** What is kept at the most for those who ask for all: more bytes would end the page. */
export const MOST: Bounds = { entries: Infinity, bytes: 500_000_000 };
/** How far beyond the bounds it goes until some are let go. */
const SLACK = 1.25;
/** An entry of more bytes goes early, whatever its kind and place: few of them fill the memory. */
const HEAVY = 32_000;
/** Kinds that panels and marks are made of: they go last. */
const LASTING: ReadonlySet<Kind> = new Set<Kind>(["step", "evidence", "score", "note", "error"]);

export class Timeline {
  readonly #entries = new Map<number, Entry>();
  readonly #byKind = new Map<Kind, Index>();
  readonly #trouble: Index = { seqs: [], isSorted: true };
  readonly #usual: Bounds;
  /** Seqs in the order in which they came: whoever keeps a place in it need not look at everything again. */
  #journal: number[] = [];
  #generation = 0;
  #gaps: Gap[] = [];
  #head = 0;
  #bytes = 0;
  #keeps: Bounds;
  #looked: [from: number, to: number] = [Infinity, Infinity];
  #held: number | null = null;

  /** Keeps what the bounds allow, and a quarter more until it lets go of some. */
  constructor(usual: Partial<Bounds> = {}) {
    this.#usual = { ...KEPT, ...usual };
    this.#keeps = this.#usual;
  }

  /** The last seq that is known of. */
  get head(): number {
    return this.#head;
  }

  /** Entries that are here. */
  get size(): number {
    return this.#entries.size;
  }

  /** What the entries take of the page's memory, roughly. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether there is as much as is kept: what is added pushes out something else. */
  get isFull(): boolean {
    return this.size >= this.#keeps.entries || this.#bytes >= this.#keeps.bytes;
  }

  /** Gaps in order; they do not overlap. */
  get gaps(): readonly Gap[] {
    return this.#gaps;
  }

  /** Seqs in the order in which they came. */
  get journal(): readonly number[] {
    return this.#journal;
  }

  /** Grows when entries were let go: the journal has begun anew. */
  get generation(): number {
    return this.#generation;
  }

  /** An entry, if it is here. */
  get(seq: number): Entry | undefined {
    return this.#entries.get(seq);
  }

  /** The log has come this far. */
  reach(seq: number): void {
    this.#head = Math.max(this.#head, seq);
  }

  /** Takes an entry. `false` if it is here already. */
  add(entry: Entry): boolean {
    this.reach(entry.seq);
    if (this.#entries.has(entry.seq)) return false;
    this.#entries.set(entry.seq, entry);
    this.#bytes += entry.weight;
    this.#journal.push(entry.seq);
    this.#indexOf(entry.kind, entry.seq);
    if (entry.isTrouble) put(this.#trouble, entry.seq);
    if (this.#gaps.length > 0) this.#cut(entry.seq, entry.seq);
    return true;
  }

  /** These seqs are looked at: they and what is near them stay. */
  look(from: number, to: number): void {
    this.#looked = [from, to];
  }

  /** This entry stays, wherever one looks; `null` for none. */
  hold(seq: number | null): void {
    this.#held = seq;
  }

  /** Keeps more than usual, or as much as usual again. */
  keep({ entries, bytes }: Bounds): void {
    this.#keeps = { entries: Math.max(entries, this.#usual.entries), bytes: Math.max(bytes, this.#usual.bytes) };
  }

  /** Lets go of what is furthest away, if there is too much. Never while somebody looks for what is missing of a range. */
  settle(): void {
    const { entries, bytes } = this.#keeps;
    if (this.size <= entries * SLACK && this.#bytes <= bytes * SLACK) return;
    const [from, to] = this.#looked;
    const distance = (seq: number): number => Math.min(this.#head - seq, seq < from ? from - seq : Math.max(seq - to, 0));
    const near = this.#usual.entries / 8;
    const order = [...this.#entries.values()].filter(({ seq }) => (seq < from || seq > to) && seq !== this.#held).map(({ seq, kind, isTrouble, weight }) => {
      const far = distance(seq);
      const isLasting = LASTING.has(kind) || isTrouble;
      return { seq, far, weight, rank: weight > HEAVY ? 0 : far <= near ? 2 : isLasting ? 1 : 0 };
    });
    order.sort((a, b) => a.rank - b.rank || b.far - a.far);
    for (const { seq, weight } of order) {
      if (this.size <= entries && this.#bytes <= bytes) break;
      this.#entries.delete(seq);
      this.#bytes -= weight;
    }
    const isHere = (seq: number): boolean => this.#entries.has(seq);
    for (const index of [...this.#byKind.values(), this.#trouble]) index.seqs = index.seqs.filter(isHere);
    this.#journal = this.#journal.filter(isHere);
    this.#generation += 1;
  }

  #indexOf(kind: Kind, seq: number): void {
    const index = this.#byKind.get(kind) ?? { seqs: [], isSorted: true };
    put(index, seq);
    this.#byKind.set(kind, index);
  }

  /** Takes a gap: those of its seqs that are not here. */
  addGap(gap: Gap): void {
    this.reach(gap.to);
    this.#cut(gap.from, gap.to);
    this.#gaps.push(...this.#absent(gap.from, gap.to).map(([from, to]) => ({ ...gap, from, to })));
    this.#gaps.sort((a, b) => a.from - b.from);
  }

  /** Takes seqs out of the gaps, so that they can be loaded. */
  reopen(from: number, to: number): void {
    this.#cut(from, to);
  }

  #cut(from: number, to: number): void {
    this.#gaps = this.#gaps.flatMap((gap) => {
      if (gap.to < from || gap.from > to) return [gap];
      const parts: Gap[] = [];
      if (gap.from < from) parts.push({ ...gap, to: from - 1 });
      if (gap.to > to) parts.push({ ...gap, from: to + 1 });
      return parts;
    });
  }

  /** Runs of seqs without an entry. Looks at entries, not at seqs, where the range is longer than what is here. */
  #absent(from: number, to: number): [number, number][] {
    const inside = to - from > this.#entries.size
      ? [...this.#entries.keys()].filter((seq) => seq >= from && seq <= to).sort((a, b) => a - b)
      : present(this.#entries, from, to);
    const runs: [number, number][] = [];
    let next = from;
    for (const seq of inside) {
      if (seq > next) runs.push([next, seq - 1]);
      next = seq + 1;
    }
    if (next <= to) runs.push([next, to]);
    return runs;
  }

  /** Runs of seqs of a range that are neither here nor in a gap: what has to be loaded. */
  missing(from: number, to: number): [number, number][] {
    const [first, last] = [Math.max(from, 1), Math.min(to, this.#head)];
    if (first > last) return [];
    return this.#gaps.reduce(
      (runs, gap) => runs.flatMap((run) => without(run, gap)),
      this.#absent(first, last),
    );
  }

  /** The gap that a seq is in. */
  gapAt(seq: number): Gap | undefined {
    return this.#gaps.find((gap) => seq >= gap.from && seq <= gap.to);
  }

  /** Seqs of a kind that are here, in order. */
  of(kind: Kind): readonly number[] {
    const index = this.#byKind.get(kind);
    return index ? sorted(index) : [];
  }

  /** Entries of a kind up to a seq, in order. */
  entriesOf(kind: Kind, upTo = Infinity): Entry[] {
    const found: Entry[] = [];
    for (const seq of this.of(kind)) {
      if (seq > upTo) break;
      const entry = this.#entries.get(seq);
      if (entry) found.push(entry);
    }
    return found;
  }

  /** The next entry behind a seq that tells of something that went wrong. */
  nextTrouble(after: number): number | null {
    return sorted(this.#trouble).find((seq) => seq > after) ?? null;
  }

  /** Seqs of what went wrong, in order. */
  get trouble(): readonly number[] {
    return sorted(this.#trouble);
  }
}

function put(index: Index, seq: number): void {
  const last = index.seqs.at(-1);
  if (last !== undefined && last > seq) index.isSorted = false;
  index.seqs.push(seq);
}

function sorted(index: Index): readonly number[] {
  if (!index.isSorted) index.seqs.sort((a, b) => a - b);
  index.isSorted = true;
  return index.seqs;
}

function present(entries: ReadonlyMap<number, Entry>, from: number, to: number): number[] {
  const found: number[] = [];
  for (let seq = from; seq <= to; seq += 1) if (entries.has(seq)) found.push(seq);
  return found;
}

function without([from, to]: [number, number], gap: Gap): [number, number][] {
  if (gap.to < from || gap.from > to) return [[from, to]];
  const parts: [number, number][] = [];
  if (gap.from > from) parts.push([from, gap.from - 1]);
  if (gap.to < to) parts.push([gap.to + 1, to]);
  return parts;
}
