/** A session being followed, as an async iterator or by callback. */
import type { Item } from "./item.js";
import { isOfAnotherHistory } from "./machine/follow.js";
import type { ClientError } from "./outcome.js";
import type { Joined, Position } from "./protocol.js";

/** What a follow asks of its client. */
export interface FollowHost {
  /** The reader has more than enough, or room again. */
  pause(isPaused: boolean): void;
  /** The reader is gone. */
  leave(): void;
}

/** How to follow. */
export interface FollowOptions {
  /** Goes on when the session has ended and all of it was read: for presence, until `close`. Otherwise that is the end of the follow. */
  stay?: boolean;
  /** Called for each item, in place of the iterator. What it throws ends the follow, and is reported as an unhandled rejection. */
  listener?: (item: Item) => unknown;
}

/** States of a session that takes no more events. */
const ENDED = /^(completed|error|expired)$/;
/** Entries of the log after which nothing comes. */
const LAST = /^session_(stopped|expired)$/;

const END: IteratorResult<Item, undefined> = { done: true, value: undefined };

interface Reader {
  resolve: (result: IteratorResult<Item, undefined>) => void;
  reject: (error: ClientError) => void;
}

/**
 * One session being followed: every entry of its log once and in order, or a gap that says why not. It goes on by itself
 * over reconnects, until the session has ended and all of it was read, until it is closed, or ends with an error.
 *
 * ```ts
 * for await (const item of follow) if (item.type === "event") console.log(item.seq, item.data);
 * ```
 */
export class Follow implements AsyncIterable<Item> {
  /** The session. */
  readonly sessionId: string;
  readonly #host: FollowHost;
  readonly #limit: number;
  #buffer: Item[] = [];
  #readers: Reader[] = [];
  #isOver = false;
  /** What has ended it, if it was no good end. */
  #error: ClientError | null = null;
  #isPaused = false;
  /** There from the moment that it is given out. */
  #answer!: Joined;
  #place: Position | null = null;
  /** Up to where it was given anything. */
  #given = 0;
  /** The last entry of the log, if the session has ended. */
  #last = Infinity;
  readonly #stays: boolean;

  /** @internal */
  constructor(sessionId: string, limit = 1024, host: FollowHost, stay = false) {
    this.sessionId = sessionId;
    this.#stays = stay;
    this.#limit = limit;
    this.#host = host;
  }

  /** What the server answered to the join. */
  get joined(): Joined {
    return this.#answer;
  }

  /**
   * How far the reader has come: behind the last item that it took. Kept somewhere, it is where another follow goes on
   * without missing or repeating anything.
   */
  get position(): Position {
    return { ...(this.#place ?? this.joined.from) };
  }

  /** The next item; waits for it. `done` after the end. Rejects with the error that has ended the follow. */
  async next(): Promise<IteratorResult<Item, undefined>> {
    const value = this.#buffer.shift();
    if (value) {
      this.#took(value);
      return { done: false, value };
    }
    if (!this.#isOver) return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    if (this.#error) throw this.#error;
    return END;
  }

  /** Calls back for each item, one after the other: a promise that it gives is waited for. Resolves at the end. */
  async forEach(listener: (item: Item) => unknown): Promise<void> {
    for await (const item of this) await listener(item);
  }

  /** The items, one after the other. Leaving the loop closes the follow. */
  [Symbol.asyncIterator](): AsyncIterator<Item, undefined> {
    return {
      next: () => this.next(),
      return: () => {
        this.close();
        return Promise.resolve(END);
      },
    };
  }

  /** Ends the follow. What was not read is dropped. */
  close(): void {
    if (this.#isOver) return;
    this.#buffer = [];
    this.end(null);
    this.#host.leave();
  }

  /** @internal */
  setJoined(joined: Joined): void {
    this.#answer = joined;
    const { from, headSeq, session } = joined;
    // Of an older server, or a replay.
    const status = (session as Joined["session"] | undefined)?.status ?? "";
    if (ENDED.test(status)) this.#reached(from.seq, headSeq);
  }

  /** All up to a seq was given; the session's last one is known or not. */
  #reached(seq: number, last = this.#last): void {
    this.#given = Math.max(this.#given, seq);
    this.#last = last;
    if (this.#stays || this.#given < last || this.#isOver) return;
    this.end(null);
    this.#host.leave();
  }

  /** @internal */
  push(value: Item): void {
    if (this.#isOver) return;
    const reader = this.#readers.shift();
    if (reader) {
      this.#took(value);
      reader.resolve({ done: false, value });
    } else if (this.#buffer.push(value) >= this.#limit) this.#setPaused(true);
    if (value.type === "event") this.#reached(value.seq);
    else if (value.type === "lifecycle") this.#reached(value.seq, LAST.test(value.change.type) ? value.seq : undefined);
    else if (value.type === "gap" && !isOfAnotherHistory(value)) this.#reached(value.to);
  }

  /** @internal What is in the buffer can still be read. */
  end(error: ClientError | null): void {
    if (this.#isOver) return;
    // The end that the user wished for is none.
    if (error?.ended?.kind !== "closed") this.#error = error;
    this.#isOver = true;
    for (const { resolve, reject } of this.#readers.splice(0)) {
      if (this.#error) reject(this.#error);
      else resolve(END);
    }
  }

  #took(item: Item): void {
    const { epoch, seq } = this.position;
    if (item.type === "event" || item.type === "lifecycle") this.#place = { epoch, seq: item.seq, lastId: item.id };
    else if (item.type === "notRecovered") this.#place = { ...item.from };
    else if (item.type === "gap" && !isOfAnotherHistory(item) && item.to > seq) {
      this.#place = { epoch, seq: item.to };
    }
    if (this.#buffer.length <= this.#limit / 2) this.#setPaused(false);
  }

  #setPaused(isPaused: boolean): void {
    if (this.#isPaused === isPaused || this.#isOver) return;
    this.#isPaused = isPaused;
    this.#host.pause(isPaused);
  }
}
