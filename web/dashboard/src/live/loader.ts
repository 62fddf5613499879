/**
 * Loads the ranges of a log that are looked at, each once, few at a time. Usually by chunks; of a chunk whose events are too large
 * for one answer, what is looked at.
 */
import { fromMessage } from "../timeline/entry.js";
import type { Timeline } from "../timeline/store.js";
import type { LogMessage, LogPart } from "../api/types.js";

/** Entries of one request. */
export const CHUNK = 500;
/** Bytes of one answer, and what one more event has: reading goes on with another request. */
export const CHUNK_BYTES = 8_000_000;
/** Requests at a time. */
const AT_ONCE = 2;
/** Ranges that wait; older wishes are forgotten, since the reader has scrolled on. */
const WAITING = 4;

/** Reads a range of the log, or its first part if it is large. */
export type ReadRange = (from: number, to: number) => Promise<LogPart>;

/** Seqs of one chunk that are looked at. */
interface Wish {
  chunk: number;
  from: number;
  to: number;
}

/** Puts messages of a log into the time line. */
export function take(timeline: Timeline, messages: readonly LogMessage[]): void {
  for (const message of messages) {
    const part = fromMessage(message);
    if (!part) continue;
    if ("seq" in part) timeline.add(part);
    else timeline.addGap(part);
  }
}

export class Loader {
  readonly #timeline: Timeline;
  readonly #read: ReadRange;
  readonly #changed: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #running = new Set<number>();
  /** Chunks that failed lately, and when they may be asked for again, by a clock that never jumps. */
  readonly #resting = new Map<number, number>();
  /** Chunks that do not come in one answer. */
  readonly #heavy = new Set<number>();
  #waiting: Wish[] = [];
  #isClosed = false;

  constructor(timeline: Timeline, read: ReadRange, changed: () => void, failed: (error: unknown) => void) {
    [this.#timeline, this.#read, this.#changed, this.#failed] = [timeline, read, changed, failed];
  }

  /** Sees to it that a range will be here. */
  want(from: number, to: number): void {
    const now = performance.now();
    for (const [first, last] of this.#timeline.missing(from, to)) {
      for (let chunk = chunkOf(first); chunk <= chunkOf(last); chunk += 1) {
        if ((this.#resting.get(chunk) ?? 0) > now) continue;
        this.#wish({ chunk, from: Math.max(first, firstOf(chunk)), to: Math.min(last, lastOf(chunk)) });
      }
    }
    this.#waiting = this.#waiting.slice(-WAITING);
    this.#go();
  }

  /** Loads everything that the page can hold, from the end to the start, telling how far it is. `false` from `goOn` stops it. */
  async all(goOn: (loaded: number, total: number) => boolean): Promise<void> {
    for (let chunk = chunkOf(this.#timeline.head); chunk >= 0; chunk -= 1) {
      while (this.#timeline.missing(firstOf(chunk), lastOf(chunk)).length > 0) {
        if (this.#isClosed || this.#timeline.isFull || !goOn(this.#timeline.size, this.#timeline.head)) return;
        const { generation } = this.#timeline;
        await this.#load({ chunk, from: firstOf(chunk), to: lastOf(chunk) });
        // Others had to go for it: loading them again would never end.
        if (this.#timeline.generation !== generation) return;
      }
    }
  }

  /** Nothing more is asked for or taken. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
  }

  /** Notes what is looked at; of one chunk, what is looked at now. */
  #wish(wish: Wish): void {
    this.#waiting = [...this.#waiting.filter(({ chunk }) => chunk !== wish.chunk), wish];
  }

  #go(): void {
    while (!this.#isClosed && this.#running.size < AT_ONCE) {
      const at = this.#waiting.findLastIndex(({ chunk }) => !this.#running.has(chunk));
      const [wish] = at < 0 ? [] : this.#waiting.splice(at, 1);
      if (!wish) return;
      void this.#load(wish).catch((error: unknown) => {
        this.#resting.set(wish.chunk, performance.now() + 3000);
        this.#failed(error);
      });
    }
  }

  /** Loads a wish's chunk, or a part of it. What is left of the wish then waits, behind what is looked at meanwhile. */
  async #load(wish: Wish): Promise<void> {
    const { chunk } = wish;
    const isHeavy = this.#heavy.has(chunk);
    const missing = this.#timeline.missing(isHeavy ? wish.from : firstOf(chunk), isHeavy ? wish.to : lastOf(chunk));
    const [from, to] = [missing[0]?.[0] ?? 0, missing.at(-1)?.[1] ?? 0];
    if (from === 0) return;
    this.#running.add(chunk);
    try {
      const { messages, isWhole } = await this.#read(from, to);
      if (this.#isClosed) return;
      take(this.#timeline, messages);
      // What an answer leaves out is not there: asking again and again would not bring it.
      const until = isWhole ? to : Math.max(from, messages.at(-1)?.seq ?? 0);
      for (const [first, last] of this.#timeline.missing(from, until)) {
        this.#timeline.addGap({ from: first, to: last, cause: "missing", history: false });
      }
      if (!isWhole) {
        this.#heavy.add(chunk);
        // Only what is behind this part: what was let go again for the sake of others is not loaded a second time.
        const rest = { ...wish, from: Math.max(wish.from, until + 1) };
        const isWaiting = this.#waiting.some((other) => other.chunk === chunk);
        if (!isWaiting && this.#timeline.missing(rest.from, rest.to).length > 0) this.#waiting.unshift(rest);
      }
      this.#changed();
    } finally {
      this.#running.delete(chunk);
      this.#go();
    }
  }
}

function chunkOf(seq: number): number {
  return Math.floor((Math.max(seq, 1) - 1) / CHUNK);
}

function firstOf(chunk: number): number {
  return chunk * CHUNK + 1;
}

function lastOf(chunk: number): number {
  return (chunk + 1) * CHUNK;
}
