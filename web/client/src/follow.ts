/** A session being followed, as an async iterator or by callback. */
import type { Item } from "./item.js";
import { ClientError } from "./outcome.js";
import type { Joined, Position } from "./protocol.js";

/** What a follow asks of its client. */
export interface FollowHost {
  /** The reader has more than enough, or room again. */
  pause(isPaused: boolean): void;
  /** The reader is gone. */
  leave(): void;
}

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
  #over: { error: ClientError | null } | null = null;
  #isPaused = false;
  #answer: Joined | null = null;
  #place: Position | null = null;

  /** @internal */
  constructor(sessionId: string, limit: number, host: FollowHost) {
    this.sessionId = sessionId;
    this.#limit = limit;
    this.#host = host;
  }

  /** What the server answered to the join. */
  get joined(): Joined {
    if (!this.#answer) throw new Error("a follow is given out after its join");
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
  next(): Promise<IteratorResult<Item, undefined>> {
    const item = this.#buffer.shift();
    if (item) {
      this.#took(item);
      return Promise.resolve({ done: false, value: item });
    }
    if (this.#over?.error) return Promise.reject(this.#over.error);
    if (this.#over) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
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
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  /** Ends the follow. What was not read is dropped. */
  close(): void {
    if (this.#over) return;
    this.#buffer = [];
    this.end(null);
    this.#host.leave();
  }

  /** @internal */
  setJoined(joined: Joined): void {
    this.#answer = joined;
  }

  /** @internal */
  push(item: Item): void {
    if (this.#over) return;
    const reader = this.#readers.shift();
    if (reader) {
      this.#took(item);
      reader.resolve({ done: false, value: item });
      return;
    }
    this.#buffer.push(item);
    if (!this.#isPaused && this.#buffer.length >= this.#limit) this.#setPaused(true);
  }

  /** @internal What is in the buffer can still be read. */
  end(error: ClientError | null): void {
    if (this.#over) return;
    this.#over = { error };
    for (const reader of this.#readers.splice(0)) {
      if (error) reader.reject(error);
      else reader.resolve({ done: true, value: undefined });
    }
  }

  #took(item: Item): void {
    const epoch = this.#place?.epoch ?? this.#answer?.from.epoch ?? "";
    if (item.type === "event" || item.type === "lifecycle") this.#place = { epoch, seq: item.seq, lastId: item.id };
    else if (item.type === "notRecovered") this.#place = { ...item.from };
    else if (item.type === "gap" && item.cause !== "epoch" && item.cause !== "diverged" && item.to > this.position.seq) {
      this.#place = { epoch, seq: item.to };
    }
    if (this.#isPaused && this.#buffer.length <= this.#limit / 2) this.#setPaused(false);
  }

  #setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    if (!this.#over) this.#host.pause(isPaused);
  }
}

/** @internal Gives each item to a listener. */
export async function listen(follow: Follow, listener: (item: Item) => unknown): Promise<void> {
  try {
    await follow.forEach(listener);
  } catch (error) {
    follow.close();
    // A follow that the client's end has ended has been told through the client's events.
    if (!(error instanceof ClientError)) throw error;
  }
}
