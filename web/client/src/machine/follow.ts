/** A reader's place in a session's log, and what each message from the server does to it. */
import type { GapItem, Item, ViolationItem } from "../item.js";
import type { Joined, Position } from "../protocol.js";

/** Where a follow begins: with what comes from now on, with the log's first entry, or behind a position. */
export type StartAt = "live" | "start" | Position;

/**
 * What an entry of the log that arrived is: the next one; one that the user has; one that was left out before, while the user
 * has later ones; or the next one but for a hole that nothing explains.
 */
export type Arrival = "next" | "repeats" | "late" | ViolationItem;

/**
 * Holes that are remembered; of a server that breaks the order more often than this, later ones are told as holes
 * only.
 */
const MAX_HOLES = 64;

/** One follow. */
export class Following {
  readonly key: number;
  #start: StartAt;
  /** Everything up to its seq is with the user. Known from the first join on. */
  #place: Position | null = null;
  /** Ranges that were left out without a word: they may still come, too late. */
  #holes: [from: number, to: number][] = [];
  /** Whether the current connection delivers to it. */
  isLive = false;
  /** Whether its reader has more than enough: it gets nothing until there is room. */
  isPaused = false;
  /** The next join is only the end of a pause. */
  #afterPause = false;

  constructor(key: number, start: StartAt) {
    this.key = key;
    this.#start = start;
  }

  /** What to ask for in the next join. */
  from(): StartAt {
    return this.#place ? { ...this.#place } : this.#start;
  }

  /**
   * Nothing more is taken until a join is answered that was asked for after the pause; the place stays where it is. Or
   * there is room again.
   */
  pause(isPaused: boolean): void {
    this.isPaused = isPaused;
    if (!isPaused) return;
    this.#afterPause ||= this.isLive;
    this.isLive = false;
  }

  /** Whether what arrives is left for later. */
  get isHeld(): boolean {
    return this.isPaused || this.#afterPause;
  }

  /** The connection is gone, and with it the deliveries. Tells whether there were any. */
  connectionLost(): boolean {
    const was = this.isLive;
    this.isLive = false;
    // What the user was not told needs no word when it is over.
    if (was) this.#afterPause = false;
    return was;
  }

  /** The join was answered. Gives what the user has to know, if it is not the first one. */
  joined(joined: Joined): Item | null {
    this.isLive = !this.isPaused;
    const isFirst = this.#place === null;
    const was = this.#place ?? (typeof this.#start === "string" ? null : this.#start);
    const isQuiet = this.#afterPause;
    this.#afterPause = this.isPaused;
    if (was && joined.recovered) {
      // The server need not repeat the id that it has checked.
      this.#place = was;
      return isQuiet ? null : { type: "resumed", from: { ...was }, headSeq: joined.headSeq };
    }
    this.#place = { ...joined.from };
    this.#holes = [];
    if (isFirst && !was) return null;
    return was && { type: "notRecovered", reason: joined.reason ?? null, was: { ...was }, from: { ...joined.from } };
  }

  /** An entry of the log arrived; `id` is its id. */
  arrived(seq: number, id: string): Arrival {
    if (!this.#place) return "repeats";
    if (seq <= this.#place.seq) return this.#fill(seq) ? "late" : "repeats";
    const expected = this.#place.seq + 1;
    this.#place = { epoch: this.#place.epoch, seq, lastId: id };
    return seq === expected ? "next" : this.#hole(expected, seq);
  }

  /** Whether the user has everything up to this seq. */
  has(seq: number): boolean {
    return this.#place !== null && this.#place.seq >= seq;
  }

  /** A gap was said. Gives the hole that it leaves before it, if there is one. */
  skipped(gap: GapItem): ViolationItem | null {
    // These are about the history that the reader had; where it goes on, the join has said.
    if (gap.cause === "epoch" || gap.cause === "diverged") return null;
    if (!this.#place || gap.to <= this.#place.seq) return null;
    const expected = this.#place.seq + 1;
    this.#place = { epoch: this.#place.epoch, seq: gap.to };
    return gap.from > expected ? this.#hole(expected, gap.from) : null;
  }

  #hole(expected: number, got: number): ViolationItem {
    if (this.#holes.length < MAX_HOLES) this.#holes.push([expected, got - 1]);
    return { type: "violation", expected, got };
  }

  /** Whether a seq was missing. Then it is not any more. */
  #fill(seq: number): boolean {
    const index = this.#holes.findIndex(([from, to]) => from <= seq && seq <= to);
    const hole = this.#holes[index];
    if (!hole) return false;
    const left: [number, number][] = [[hole[0], seq - 1], [seq + 1, hole[1]]];
    this.#holes.splice(index, 1, ...left.filter(([from, to]) => from <= to));
    return true;
  }
}
