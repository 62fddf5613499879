/** Loads the ranges of a log that are looked at, each once, few at a time. */
import { fromMessage } from "../timeline/entry.js";
import type { Timeline } from "../timeline/store.js";
import type { LogMessage } from "../api/types.js";

/** Entries of one request. */
export const CHUNK = 500;
/** Requests at a time. */
const AT_ONCE = 2;
/** Ranges that wait; older wishes are forgotten, since the reader has scrolled on. */
const WAITING = 4;

/** Reads a range of the log. */
export type ReadRange = (from: number, to: number) => Promise<LogMessage[]>;

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
  /** Chunks that failed lately, and when they may be asked for again. */
  readonly #resting = new Map<number, number>();
  #waiting: number[] = [];
  #isClosed = false;

  constructor(timeline: Timeline, read: ReadRange, changed: () => void, failed: (error: unknown) => void) {
    [this.#timeline, this.#read, this.#changed, this.#failed] = [timeline, read, changed, failed];
  }

  /** Sees to it that a range will be here. */
  want(from: number, to: number): void {
    const now = Date.now();
    for (const [first, last] of this.#timeline.missing(from, to)) {
      for (let chunk = chunkOf(first); chunk <= chunkOf(last); chunk += 1) {
        const rests = (this.#resting.get(chunk) ?? 0) > now;
        if (!rests && !this.#running.has(chunk) && !this.#waiting.includes(chunk)) this.#waiting.push(chunk);
      }
    }
    this.#waiting = this.#waiting.slice(-WAITING);
    this.#go();
  }

  /** Loads everything, from the end to the start, telling how far it is. `false` from `goOn` stops it. */
  async all(goOn: (loaded: number, total: number) => boolean): Promise<void> {
    for (let chunk = chunkOf(this.#timeline.head); chunk >= 0; chunk -= 1) {
      if (this.#isClosed || !goOn(this.#timeline.size, this.#timeline.head)) return;
      if (this.#timeline.missing(chunk * CHUNK + 1, (chunk + 1) * CHUNK).length > 0) await this.#load(chunk);
    }
  }

  /** Nothing more is asked for or taken. */
  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
  }

  #go(): void {
    while (!this.#isClosed && this.#running.size < AT_ONCE) {
      const chunk = this.#waiting.pop();
      if (chunk === undefined) return;
      void this.#load(chunk).catch((error: unknown) => {
        this.#resting.set(chunk, Date.now() + 3000);
        this.#failed(error);
      }).finally(() => {
        this.#go();
      });
    }
  }

  async #load(chunk: number): Promise<void> {
    const [from, to] = [chunk * CHUNK + 1, Math.min((chunk + 1) * CHUNK, this.#timeline.head)];
    this.#running.add(chunk);
    try {
      const messages = await this.#read(from, to);
      if (this.#isClosed) return;
      take(this.#timeline, messages);
      // What a whole answer leaves out is not there: asking again and again would not bring it.
      for (const [first, last] of this.#timeline.missing(from, to)) {
        this.#timeline.addGap({ from: first, to: last, cause: "missing", history: false });
      }
      this.#changed();
    } finally {
      this.#running.delete(chunk);
    }
  }
}

function chunkOf(seq: number): number {
  return Math.floor((Math.max(seq, 1) - 1) / CHUNK);
}
