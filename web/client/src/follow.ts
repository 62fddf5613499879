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

const END: IteratorResult<Item, undefined> = { done: true, value: undefined };

interface Reader {
  resolve: (result: IteratorResult<Item, undefined>) => void;
  reject: (error: ClientError) => void;
}

/**
 * One session being followed: every entry of its log once and in order, or a gap that says why not. It goes on by itself
 * over reconnects, until it is closed, or ends with an error.
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

  /** @internal */
  constructor(sessionId: string, limit = 1024, host: FollowHost) {
    this.sessionId = sessionId;
    this.#limit = Math.max(limit, 1);
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
  }

  /** @internal */
  push(value: Item): void {
    if (this.#isOver) return;
    const reader = this.#readers.shift();
    if (reader) {
      this.#took(value);
      reader.resolve({ done: false, value });
    } else if (this.#buffer.push(value) >= this.#limit) this.#setPaused(true);
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
