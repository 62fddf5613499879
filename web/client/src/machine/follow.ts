/** A reader's place in a session's log, and what each message from the server does to it. */
import type { GapItem, Item, ViolationItem } from "../item.js";
import type { Joined, Position } from "../protocol.js";
import type { Reader } from "./outputs.js";

/** Where a follow begins: with what comes from now on, with the log's first entry, or behind a position. */
export type StartAt = "live" | "start" | Position;

/**
 * What an entry of the log that arrived is: the next one; one that the user has; one that was left out before, while the user
 * has later ones; or the next one but for a hole that nothing explains.
 */
export type Arrival = "next" | "repeats" | "late" | ViolationItem;

/** Most entries that are remembered as left out; of a server that leaves out more, later ones are told as holes only. */
const MAX_MISSING = 1024;

/** Whether a gap is about a history that the log does not have any more; where a reader goes on, its join has said. */
export function isOfAnotherHistory({ cause }: GapItem): boolean {
  return cause === "epoch" || cause === "diverged";
}

/** One follow. */
export class Following {
  readonly reader: Reader;
  readonly #start: StartAt;
  /** Everything up to its seq is with the user. Known from the first join on. */
  #place: Position | null = null;
  /** Entries that were left out without a word: they may still come, too late. */
  readonly #missing = new Set<number>();
  /** Whether the current connection delivers to it. */
  isLive = false;
  /** Whether its reader has more than enough: it gets nothing until there is room. */
  isPaused = false;
  /** The next join is only the end of a pause. */
  #afterPause = false;

  constructor(reader: Reader, start: StartAt) {
    this.reader = reader;
    this.#start = start;
  }

  /** What to ask for in the next join. */
  from(): StartAt {
    return this.#place ?? this.#start;
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
    this.#missing.clear();
    if (isFirst && !was) return null;
    return was && { type: "notRecovered", reason: joined.reason ?? null, was, from: { ...joined.from } };
  }

  /** An entry of the log arrived; `id` is its id. */
  arrived(seq: number, id: string): Arrival {
    if (!this.#place) return "repeats";
    if (seq <= this.#place.seq) return this.#missing.delete(seq) ? "late" : "repeats";
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
    if (isOfAnotherHistory(gap) || !this.#place || gap.to <= this.#place.seq) return null;
    const expected = this.#place.seq + 1;
    this.#place = { epoch: this.#place.epoch, seq: gap.to };
    return gap.from > expected ? this.#hole(expected, gap.from) : null;
  }

  #hole(expected: number, got: number): ViolationItem {
    for (let seq = expected; seq < got && this.#missing.size < MAX_MISSING; seq += 1) this.#missing.add(seq);
    return { type: "violation", expected, got };
  }
}
