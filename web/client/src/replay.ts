/**
 * A session's log, played again at its own pace. Loaded with the first replay; it imports nothing that the core consists of, so that
 * bundlers leave that in one piece.
 */
import type { Follow } from "./follow.js";
import type { EventItem, GapItem, LifecycleItem } from "./item.js";
import type { Answered, Reader } from "./machine/outputs.js";
import { replaysOf } from "./machine/replays.js";
import type { Now } from "./machine/settings.js";
import type { State } from "./machine/state.js";
import type { Joined } from "./protocol.js";
import type { Reply } from "./replies.js";

/** One step of a replay: an entry of the log, or entries that it has no more. None of them is new. */
export type ReplayItem = (EventItem | LifecycleItem | GapItem) & { replay: true };

/** How to replay. */
export interface ReplayOptions {
  /** Factor of the log's own pace, 0.25 to 64. 1 by default. */
  speed?: number;
  /** First seq. 1 by default. */
  fromSeq?: number;
}

/**
 * A session that is replayed, up to the end that its log had at the start; it goes on over reconnects where it was. The
 * iterator ends with the replay, or throws the error that has ended it. A reader that is slow makes the replay wait.
 *
 * ```ts
 * for await (const item of await client.replaySession(id, { speed: 8 })) show(item);
 * ```
 */
export class Replay implements AsyncIterable<ReplayItem> {
  readonly #items: Follow;

  /** @internal */
  constructor(items: Follow, readonly fromSeq: number, readonly toSeq: number) {
    this.#items = items;
  }

  /** The next item; waits for it. `done` after the end. */
  async next(): Promise<IteratorResult<ReplayItem, undefined>> {
    const result = await this.#items.next();
    return result.done ? { done: true, value: undefined } : { done: false, value: { ...(result.value as EventItem), replay: true } };
  }

  /** The items, one after the other. Leaving the loop closes the replay. */
  [Symbol.asyncIterator](): AsyncIterator<ReplayItem, undefined> {
    return {
      next: () => this.next(),
      return: () => {
        this.close();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  /** Ends it, and asks the server to send no more of it; an older server sends the rest, which is passed over. */
  close(): void {
    this.#items.close();
  }
}

/** @internal */
export function beginReplay(state: State, now: Now, answered: Answered, reader: Reader, session: string, { speed = 1, fromSeq = 1 }: ReplayOptions): void {
  replaysOf(state).begin(now, answered, reader, session, speed, fromSeq);
}

/** @internal */
export function pauseReplay(state: State, now: Now, session: string, reader: Reader, isPaused: boolean): void {
  replaysOf(state).setPaused(now, session, reader, isPaused);
}

/** @internal */
export function stopReplay(state: State, now: Now, session: string, reader: Reader): void {
  replaysOf(state).stop(now, session, reader);
}

/** @internal A replay that the server has begun. */
export function replayOf(items: Follow, { fromSeq, toSeq }: Reply<"replay_started">): Replay {
  // Where it stands before its first item; a replay has no epoch of its own.
  items.setJoined({ from: { epoch: "", seq: fromSeq - 1 } } as Joined);
  return new Replay(items, fromSeq, toSeq);
}
